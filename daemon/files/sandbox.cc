// Drops privileges by plain system calls, then loads a libseccomp filter.
#include "daemon/files/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>

namespace hotpath {
namespace {

constexpr id_t kNobody = 65'534;
constexpr rlim_t kMaxDescriptors = 64;  // The socket and the files of a few cached readers.

Result<void> LowerLimit(__rlimit_resource resource, rlim_t value, const char* name) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0) return FailErrno(std::string("getrlimit ") + name);
  limit.rlim_max = std::min(limit.rlim_max, value);
  limit.rlim_cur = std::min(limit.rlim_cur, limit.rlim_max);
  if (setrlimit(resource, &limit) != 0) return FailErrno(std::string("setrlimit ") + name);
  return {};
}

// Best effort: without CAP_SETPCAP the bounding set stays, and no_new_privs makes it useless.
void DropBoundingSet() {
  for (unsigned long capability = 0; capability <= 63; ++capability) {
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0) break;
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0);
}

Result<void> ClearCapabilitySets() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> none{};
  if (syscall(SYS_capset, &header, none.data()) != 0) return FailErrno("capset to nothing");
  return {};
}

// Becomes nobody where that is possible. A daemon with its own user and no CAP_SETUID keeps it.
Result<void> BecomeNobody() {
  if (setgroups(0, nullptr) != 0 && errno != EPERM) return FailErrno("setgroups");
  if (setresgid(kNobody, kNobody, kNobody) != 0 && errno != EPERM && errno != EINVAL) {
    return FailErrno("setresgid nobody");
  }
  if (setresuid(kNobody, kNobody, kNobody) != 0 && errno != EPERM && errno != EINVAL) {
    return FailErrno("setresuid nobody");
  }
  return {};
}

Result<void> LowerLimits(const SandboxLimits& limits) {
  struct Limit {
    __rlimit_resource resource;
    rlim_t value;
    const char* name;
  };
  const Limit all[] = {
      {RLIMIT_CORE, 0, "RLIMIT_CORE"},
      {RLIMIT_NPROC, 0, "RLIMIT_NPROC"},
      {RLIMIT_MEMLOCK, 0, "RLIMIT_MEMLOCK"},
      {RLIMIT_NOFILE, kMaxDescriptors, "RLIMIT_NOFILE"},
      {RLIMIT_FSIZE, limits.output_bytes, "RLIMIT_FSIZE"},
      {RLIMIT_DATA, limits.memory_bytes, "RLIMIT_DATA"},
      {RLIMIT_AS, limits.memory_bytes, "RLIMIT_AS"},
  };
  for (const Limit& limit : all) {
    if (kSanitizedBuild && (limit.resource == RLIMIT_AS || limit.resource == RLIMIT_DATA)) continue;
    if (auto lowered = LowerLimit(limit.resource, limit.value, limit.name); !lowered) {
      return lowered;
    }
  }
  return {};
}

// The filter. Collects the first error, so that rules read as a list.
class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_KILL_PROCESS)) {}
  ~Filter() {
    if (context_ != nullptr) seccomp_release(context_);
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  void Rule(uint32_t action, int call, std::initializer_list<scmp_arg_cmp> arguments = {}) {
    if (context_ == nullptr || error_ != 0) return;
    error_ = seccomp_rule_add_array(context_, action, call, static_cast<unsigned>(arguments.size()),
                                    arguments.begin());
    if (error_ != 0) failed_call_ = call;
  }
  void Allow(int call, std::initializer_list<scmp_arg_cmp> arguments = {}) {
    Rule(SCMP_ACT_ALLOW, call, arguments);
  }
  void Deny(int call) { Rule(SCMP_ACT_ERRNO(EACCES), call); }

  Result<void> Load() {
    if (context_ == nullptr) return Fail(ErrorCode::kSystem, "seccomp_init: no memory");
    if (error_ != 0) {
      return FailErrno("seccomp rule for system call " + std::to_string(failed_call_), -error_);
    }
    if (const int error = seccomp_load(context_); error != 0) {
      return FailErrno("seccomp_load", -error);
    }
    return {};
  }

 private:
  scmp_filter_ctx context_;
  int error_ = 0;
  int failed_call_ = 0;
};

void AddRules(Filter& filter, uint64_t pid) {
  // Files it was handed, and the socket they came over.
  for (const int call :
       {SCMP_SYS(read), SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(ftruncate), SCMP_SYS(lseek),
        SCMP_SYS(fstat), SCMP_SYS(close), SCMP_SYS(sendmsg), SCMP_SYS(recvmsg), SCMP_SYS(poll)}) {
    filter.Allow(call);
  }
  filter.Allow(SCMP_SYS(fcntl), {SCMP_A1(SCMP_CMP_EQ, F_GETFD)});  // libelf asks whether fds live.
  filter.Allow(SCMP_SYS(fcntl), {SCMP_A1(SCMP_CMP_EQ, F_GETFL)});
  // glibc 2.36's fstat. A name beside the flag gives its metadata and nothing more.
  filter.Allow(SCMP_SYS(newfstatat), {SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH)});
  filter.Rule(SCMP_ACT_ERRNO(EACCES), SCMP_SYS(newfstatat), {SCMP_A3(SCMP_CMP_NE, AT_EMPTY_PATH)});

  // Memory: anonymous, never executable.
  constexpr uint64_t kNoFile = 0xffff'ffff;
  filter.Allow(SCMP_SYS(mmap), {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
                                SCMP_A4(SCMP_CMP_MASKED_EQ, kNoFile, kNoFile)});
  filter.Allow(SCMP_SYS(mprotect), {SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)});
  for (const int call :
       {SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(futex)}) {
    filter.Allow(call);
  }

  // Its own time, signals and end.
  for (const int call :
       {SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(getrandom), SCMP_SYS(alarm),
        SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(restart_syscall),
        SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(exit), SCMP_SYS(exit_group)}) {
    filter.Allow(call);
  }
  filter.Allow(SCMP_SYS(sysinfo));  // glibc 2.36's qsort asks how much memory there is.
  filter.Allow(SCMP_SYS(tgkill), {SCMP_A0(SCMP_CMP_EQ, pid)});  // abort().
  if (kSanitizedBuild) {
    // The runtime reports, and tries an address by writing from it into a pipe.
    for (const int call : {SCMP_SYS(sched_yield), SCMP_SYS(sigaltstack), SCMP_SYS(rt_sigaction),
                           SCMP_SYS(sched_getaffinity), SCMP_SYS(pipe2), SCMP_SYS(write)}) {
      filter.Allow(call);
    }
  } else {
    filter.Deny(SCMP_SYS(write));
  }

  // What libraries try of their own accord, and can do without.
  for (const int call : {SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
                         SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(access), SCMP_SYS(faccessat),
                         SCMP_SYS(getcwd), SCMP_SYS(writev), SCMP_SYS(ioctl)}) {
    filter.Deny(call);
  }
}

}  // namespace

Result<void> CloseOtherDescriptors(int last_kept) {
  if (syscall(SYS_close_range, static_cast<unsigned>(last_kept) + 1, ~0U, 0) != 0) {
    return FailErrno("close_range");
  }
  return {};
}

Result<void> EnterSandbox(const SandboxLimits& limits) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return FailErrno("set no_new_privs");
  DropBoundingSet();
  if (auto done = BecomeNobody(); !done) return done;
  if (auto done = ClearCapabilitySets(); !done) return done;
  // After the change of user, which sets it back to what the system says.
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return FailErrno("set not dumpable");

  Filter filter;
  AddRules(filter, static_cast<uint64_t>(getpid()));
  if (auto done = LowerLimits(limits); !done) return done;
  return filter.Load();
}

}  // namespace hotpath
