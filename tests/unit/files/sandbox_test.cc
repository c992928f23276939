// What a process can still do after EnterSandbox(): tried in forked children.
#include "daemon/files/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace hotpath {
namespace {

constexpr int kNoSandbox = 99;  // Exit status of a child that could not enter it.

// Runs `act` in a child inside the sandbox; its result is the exit status. Returns waitpid's.
int RunBoxed(
    const std::function<int()>& act, const std::function<void()>& before = [] {},
    SandboxLimits limits = {}) {
  const pid_t pid = fork();
  if (pid == 0) {
    before();
    if (!EnterSandbox(limits)) _exit(kNoSandbox);
    _exit(act());
  }
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  return status;
}

testing::AssertionResult ExitsWith(int expected, int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == expected) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << (WIFSIGNALED(status) ? "signal " : "exit ")
         << (WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

testing::AssertionResult DiesOfSigsys(const std::function<int()>& act) {
  const int status = RunBoxed(act);
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << (WIFSIGNALED(status) ? "signal " : "exit ")
         << (WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

// The fields of /proc/PID/status of a boxed child that waits; `before` runs ahead of the sandbox.
std::map<std::string, std::string> StatusOfBoxed(const std::function<void()>& before) {
  std::array<int, 2> ready{}, done{};
  EXPECT_EQ(pipe(ready.data()), 0);
  EXPECT_EQ(pipe(done.data()), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    close(ready[0]);
    close(done[1]);
    before();
    if (!EnterSandbox({})) _exit(kNoSandbox);
    close(ready[1]);
    char byte = 0;
    _exit(read(done[0], &byte, 1) == 0 ? 0 : 1);
  }
  close(ready[1]);
  close(done[0]);
  char byte = 0;
  EXPECT_EQ(read(ready[0], &byte, 1), 0);  // The child has closed its end: it is boxed in.
  std::map<std::string, std::string> fields;
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    const size_t colon = line.find(':');
    const size_t value = std::min(line.find_first_not_of("\t ", colon + 1), line.size());
    fields[line.substr(0, colon)] = line.substr(value);
  }
  close(done[1]);
  close(ready[0]);
  int end = -1;
  EXPECT_EQ(waitpid(pid, &end, 0), pid);
  EXPECT_TRUE(ExitsWith(0, end));
  return fields;
}

void ExpectNothingLeft(std::map<std::string, std::string> fields) {
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapAmb"}) {
    EXPECT_EQ(fields[set], "0000000000000000") << set;
  }
  EXPECT_EQ(fields["NoNewPrivs"], "1");
  EXPECT_EQ(fields["Seccomp"], "2");
}

// Keeps `mask` of the capabilities, and no way to gain others.
void KeepCapabilities(uint64_t mask) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> sets{};
  for (size_t i = 0; i < sets.size(); ++i) {
    const auto half = static_cast<uint32_t>(mask >> (32 * i));
    sets[i] = {half, half, half};
  }
  if (syscall(SYS_capset, &header, sets.data()) != 0) _exit(98);
}

TEST(Sandbox, OpeningAFileFailsWithEacces) {
  EXPECT_TRUE(
      ExitsWith(EACCES, RunBoxed([] { return open("/etc/passwd", O_RDONLY) < 0 ? errno : 0; })));
  EXPECT_TRUE(ExitsWith(EACCES, RunBoxed([] {
                          struct stat status{};
                          return stat("/etc/passwd", &status) < 0 ? errno : 0;
                        })));
}

TEST(Sandbox, SocketsProgramsAndProcessesKillIt) {
  EXPECT_TRUE(DiesOfSigsys([] { return socket(AF_INET, SOCK_STREAM, 0); }));
  EXPECT_TRUE(DiesOfSigsys([] { return execl("/bin/true", "true", nullptr); }));
  EXPECT_TRUE(DiesOfSigsys([] { return static_cast<int>(syscall(SYS_clone, SIGCHLD, 0)); }));
  EXPECT_TRUE(DiesOfSigsys([] { return static_cast<int>(syscall(SYS_fork)); }));
  EXPECT_TRUE(DiesOfSigsys([] { return kill(getppid(), SIGTERM); }));
  EXPECT_TRUE(DiesOfSigsys([] { return memfd_create("x", 0); }));
  EXPECT_TRUE(DiesOfSigsys([] { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }));
  EXPECT_TRUE(DiesOfSigsys([] { return static_cast<int>(syscall(SYS_openat2, 0, "/", 0, 0)); }));
  EXPECT_TRUE(DiesOfSigsys([] { return static_cast<int>(syscall(SYS_io_uring_setup, 1, 0)); }));
  EXPECT_TRUE(DiesOfSigsys([] { return static_cast<int>(syscall(SYS_ptrace, 0, 0, 0, 0)); }));
}

TEST(Sandbox, MemoryOfFilesAndExecutableMemoryKillIt) {
  const int fd = memfd_create("x", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(fd, 4'096), 0);
  EXPECT_TRUE(DiesOfSigsys(
      [=] { return mmap(nullptr, 4'096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? 1 : 0; }));
  EXPECT_TRUE(DiesOfSigsys([] {
    return mmap(nullptr, 4'096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                   MAP_FAILED
               ? 1
               : 0;
  }));
  EXPECT_TRUE(ExitsWith(0, RunBoxed([] {
                          return mmap(nullptr, 4'096, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
                                     ? 1
                                     : 0;
                        })));
  close(fd);
}

TEST(Sandbox, FilesItHoldsAreReadAndWritten) {
  const int fd = memfd_create("x", MFD_CLOEXEC);
  ASSERT_EQ(ftruncate(fd, 4), 0);
  EXPECT_TRUE(ExitsWith(0, RunBoxed([=] {
                          char byte = 1;
                          struct stat status{};
                          if (pread(fd, &byte, 1, 3) != 1 || byte != 0) return 1;
                          if (pwrite(fd, "abcd", 4, 4) != 4) return 2;
                          if (fstat(fd, &status) != 0 || status.st_size != 8) return 3;
                          if (fcntl(fd, F_GETFD) < 0) return 4;
                          return 0;
                        })));
  close(fd);
}

TEST(Sandbox, TheCLibrarySortsLargeArrays) {
  EXPECT_TRUE(ExitsWith(
      0, RunBoxed([] {
        std::vector<int> numbers(1'000'000);
        for (size_t i = 0; i < numbers.size(); ++i) {
          numbers[i] = static_cast<int>(numbers.size() - i);
        }
        std::qsort(numbers.data(), numbers.size(), sizeof(int), [](const void* a, const void* b) {
          return *static_cast<const int*>(a) - *static_cast<const int*>(b);
        });
        return std::ranges::is_sorted(numbers) ? 0 : 1;
      })));
}

TEST(Sandbox, NothingIsLeftOfItsPrivileges) {
  auto fields = StatusOfBoxed([] {});
  ExpectNothingLeft(fields);
  if (geteuid() == 0) {
    EXPECT_EQ(fields["Uid"], "65534\t65534\t65534\t65534");
    EXPECT_EQ(fields["Groups"], "");
  }
}

// The packaged daemon: its own user, six capabilities, none of them SETUID or SETPCAP.
TEST(Sandbox, ItNeedsNoPrivilegeToGiveThemUp) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to make such a process";
  constexpr uint64_t kSix = uint64_t{1} << CAP_BPF | uint64_t{1} << CAP_PERFMON |
                            uint64_t{1} << CAP_SYS_PTRACE | uint64_t{1} << CAP_DAC_READ_SEARCH |
                            uint64_t{1} << CAP_SYSLOG | uint64_t{1} << CAP_CHECKPOINT_RESTORE;
  auto own_user = StatusOfBoxed([] {
    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
    if (setresgid(4'711, 4'711, 4'711) != 0 || setresuid(4'711, 4'711, 4'711) != 0) _exit(97);
    KeepCapabilities(kSix);
  });
  ExpectNothingLeft(own_user);
  EXPECT_EQ(own_user["Uid"], "4711\t4711\t4711\t4711");

  auto root_with_six = StatusOfBoxed([] { KeepCapabilities(kSix); });
  ExpectNothingLeft(root_with_six);
  EXPECT_EQ(root_with_six["Uid"], "0\t0\t0\t0");

  auto nobody_at_all = StatusOfBoxed([] {
    if (setresuid(4'711, 4'711, 4'711) != 0) _exit(97);
  });
  ExpectNothingLeft(nobody_at_all);
}

TEST(Sandbox, MemoryPastTheLimitIsNotThere) {
  if (kSanitizedBuild) GTEST_SKIP() << "sanitizers reserve terabytes";
  const auto allocate = [] {
    const size_t bytes = size_t{200} << 20;
    return mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                   MAP_FAILED
               ? errno
               : 0;
  };
  EXPECT_TRUE(ExitsWith(ENOMEM, RunBoxed(allocate, [] {}, {.memory_bytes = 100 << 20})));
  EXPECT_TRUE(ExitsWith(0, RunBoxed(allocate, [] {}, {.memory_bytes = uint64_t{1} << 30})));
}

TEST(Sandbox, OutputPastTheLimitIsRefused) {
  const int fd = memfd_create("x", MFD_CLOEXEC);
  const auto ignore_signal = [] { std::signal(SIGXFSZ, SIG_IGN); };
  EXPECT_TRUE(ExitsWith(EFBIG, RunBoxed([=] { return pwrite(fd, "x", 1, 5'000) < 0 ? errno : 0; },
                                        ignore_signal, {.output_bytes = 4'096})));
  close(fd);
}

TEST(Sandbox, OtherDescriptorsAreClosed) {
  const int low = open("/dev/null", O_RDONLY);
  const int high = fcntl(low, F_DUPFD, 500);
  const pid_t pid = fork();
  if (pid == 0) {
    if (!CloseOtherDescriptors(low)) _exit(1);
    _exit(fcntl(low, F_GETFD) == 0 && fcntl(high, F_GETFD) < 0 ? 0 : 2);
  }
  int status = -1;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(ExitsWith(0, status));
  close(low);
  close(high);
}

}  // namespace
}  // namespace hotpath
