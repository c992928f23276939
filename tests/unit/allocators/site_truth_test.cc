// The claims about sites against a processor: real programs, stepped from each entry to its sites.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <map>
#include <string>

#include "daemon/allocators/process_maps.h"
#include "daemon/files/place_probes.h"

namespace hotpath {
namespace {

constexpr int kMaxSteps = 400;
constexpr int kHits = 60;

uint64_t ValueOf(const user_regs_struct& regs, Register place) {
  const std::array<unsigned long long, kRegisters> values = {
      regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi,
      regs.r8,  regs.r9,  regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15};
  return values[static_cast<size_t>(place)];
}

// `ls -l /` with a library preloaded, traced from its first instruction on.
class Traced {
 public:
  explicit Traced(const std::string& library) {
    pid_ = fork();
    if (pid_ == 0) {
      std::string preload = "LD_PRELOAD=" + library;
      std::string name = "/bin/ls", flag = "-l", where = "/";
      char* arguments[] = {name.data(), flag.data(), where.data(), nullptr};
      char* environment[] = {preload.data(), nullptr};
      if (freopen("/dev/null", "w", stdout) == nullptr) _exit(126);
      if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(126);
      execve(name.c_str(), arguments, environment);
      _exit(127);
    }
    stopped_ = Wait();
  }
  Traced(const Traced&) = delete;
  Traced& operator=(const Traced&) = delete;
  ~Traced() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  pid_t pid() const { return pid_; }
  bool stopped() const { return stopped_; }
  user_regs_struct Registers() const {
    user_regs_struct regs{};
    ptrace(PTRACE_GETREGS, pid_, nullptr, &regs);
    return regs;
  }
  void SetRegisters(user_regs_struct regs) { ptrace(PTRACE_SETREGS, pid_, nullptr, &regs); }
  void Break(uint64_t address) {
    const long word = ptrace(PTRACE_PEEKTEXT, pid_, address, nullptr);
    words_[address] = word;
    ptrace(PTRACE_POKETEXT, pid_, address, (word & ~0xffL) | 0xcc);
  }
  void Unbreak(uint64_t address) { ptrace(PTRACE_POKETEXT, pid_, address, words_[address]); }
  // False when the program is gone.
  bool Step() { return Resume(PTRACE_SINGLESTEP); }
  bool Continue() { return Resume(PTRACE_CONT); }

 private:
  bool Resume(__ptrace_request how) { return ptrace(how, pid_, nullptr, nullptr) == 0 && Wait(); }
  bool Wait() const {
    int status = 0;
    return waitpid(pid_, &status, 0) == pid_ && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP;
  }

  pid_t pid_ = -1;
  bool stopped_ = false;
  std::map<uint64_t, long> words_;
};

// Where the program begins, behind the dynamic linker: its libraries are mapped there.
uint64_t EntryOf(pid_t pid) {
  constexpr uint64_t kEntry = 9;  // AT_ENTRY
  std::ifstream vector("/proc/" + std::to_string(pid) + "/auxv", std::ios::binary);
  uint64_t pair[2] = {};
  while (vector.read(reinterpret_cast<char*>(pair), sizeof pair)) {
    if (pair[0] == kEntry) return pair[1];
  }
  return 0;
}

// What memory addresses are above file offsets, for the code of `library`.
uint64_t BiasOf(pid_t pid, const std::string& library) {
  const auto text = ReadProcFile("/proc/" + std::to_string(pid) + "/maps", 1 << 20);
  if (!text) return 0;
  const std::string name = library.substr(library.rfind('/'));
  for (const Mapping& mapping : ParseMaps(*text)) {
    if (mapping.executable && mapping.path.find(name) != std::string::npos) {
      return mapping.begin - mapping.offset;
    }
  }
  return 0;
}

void ExpectAsClaimed(const ProbedFunction& function, const ProbeSite& site,
                     const user_regs_struct& entry, const user_regs_struct& now) {
  EXPECT_EQ(entry.rsp - now.rsp, site.sp_delta_bytes) << function.name;
  for (const EntryArgument& argument : SignatureOf(function.call).arguments) {
    const auto claimed = std::ranges::find(site.arguments, argument.role, &ProbeArgument::role);
    ASSERT_NE(claimed, site.arguments.end()) << function.name;
    EXPECT_EQ(ValueOf(now, claimed->place), ValueOf(entry, argument.place)) << function.name;
  }
}

// Steps from an entry over the sites of `function`; false when the program is gone.
bool StepOver(Traced& program, const ProbedFunction& function, uint64_t bias) {
  const user_regs_struct entry = program.Registers();
  bool at_first = false, at_second = false;
  for (int step = 0; step < kMaxSteps; ++step) {
    const user_regs_struct now = program.Registers();
    if (now.rsp > entry.rsp) break;  // It has returned.
    if (now.rip == bias + function.site.offset && !at_first) {
      at_first = true;
      ExpectAsClaimed(function, function.site, entry, now);
    } else if (function.second && now.rip == bias + function.second->offset) {
      at_second = true;
      ExpectAsClaimed(function, *function.second, entry, now);
    }
    if (at_first && (at_second || !function.second)) break;
    if (!program.Step()) return false;
  }
  EXPECT_TRUE(at_first) << function.name << ": a call that does not pass the site";
  if (function.second && !function.second->skips_idle_calls) {
    EXPECT_TRUE(at_second) << function.name << ": a call that does not pass the second site";
  }
  return true;
}

class SiteTruth : public testing::TestWithParam<const char*> {};

TEST_P(SiteTruth, EveryCallPassesWithItsArgumentsWhereTheyAreSaidToBe) {
  const std::string library = "/usr/lib/x86_64-linux-gnu/" + std::string(GetParam());
  const Fd fd(open(library.c_str(), O_RDONLY | O_CLOEXEC));
  const auto elf = ElfFile::Open(fd.get());
  ASSERT_TRUE(elf) << library;
  const auto placed = PlaceProbes(*elf);
  ASSERT_TRUE(placed);
  Traced program(library);
  if (!program.stopped()) GTEST_SKIP() << "no ptrace here";
  const uint64_t start = EntryOf(program.pid());
  program.Break(start);
  ASSERT_TRUE(program.Continue());
  program.Unbreak(start);
  user_regs_struct regs = program.Registers();
  regs.rip = start;
  program.SetRegisters(regs);

  const uint64_t bias = BiasOf(program.pid(), library);
  ASSERT_NE(bias, 0U);
  std::map<uint64_t, const ProbedFunction*> entries;
  for (const ProbedFunction& function : placed->functions) {
    if (function.site.probe_class == ProbeClass::kRefused) continue;
    const uint64_t offset = function.site.offset - (function.site.address - function.address);
    entries[bias + offset] = &function;
  }
  for (const auto& [address, function] : entries) program.Break(address);
  std::map<std::string, int> hits;
  for (int hit = 0; hit < kHits && program.Continue(); ++hit) {
    regs = program.Registers();
    const auto at = entries.find(--regs.rip);
    ASSERT_NE(at, entries.end());
    ++hits[at->second->name];
    program.SetRegisters(regs);
    for (const auto& [address, function] : entries) program.Unbreak(address);
    if (!StepOver(program, *at->second, bias)) break;
    if (!program.Step()) break;
    for (const auto& [address, function] : entries) program.Break(address);
  }
  EXPECT_GE(hits["malloc"], 5);
  EXPECT_GE(hits["free"], 5);
}

INSTANTIATE_TEST_SUITE_P(Allocators, SiteTruth,
                         testing::Values("libc.so.6", "libjemalloc.so.2",
                                         "libtcmalloc_minimal.so.4", "libmimalloc.so.2"),
                         [](const testing::TestParamInfo<const char*>& info) {
                           const std::string name = info.param;
                           return name.substr(3, name.find_first_of("._") - 3);
                         });

}  // namespace
}  // namespace hotpath
