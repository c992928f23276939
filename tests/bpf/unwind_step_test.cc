// Steps a real program instruction by instruction and unwinds at each one, against elfutils.
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "daemon/base/fd.h"
#include "daemon/files/unwind_table.h"
#include "tests/bpf/unwind_host.h"

namespace hotpath {
namespace {

constexpr int kMaxSteps = 12'000;

// A traced process with its mappings and their tables: what the walk runs on.
class Tracee {
 public:
  explicit Tracee(const std::string& what) {
    pid_ = fork();
    if (pid_ == 0) {
      ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      const char* warm = what == "binding" ? nullptr : "warm";
      execl(STEP_TARGET, STEP_TARGET, what.c_str(), warm, nullptr);
      _exit(127);
    }
    waitpid(pid_, &status_, 0);
    tables_.resize(HP_FILE_FIRST);
  }
  ~Tracee() {
    kill(pid_, SIGKILL);
    waitpid(pid_, &status_, 0);
  }

  // Runs to the next int3. False when it ended instead.
  bool RunToTrap() {
    ptrace(PTRACE_CONT, pid_, nullptr, nullptr);
    waitpid(pid_, &status_, 0);
    if (!WIFSTOPPED(status_) || WSTOPSIG(status_) != SIGTRAP) return false;
    ReadMappings();
    return true;
  }
  // One instruction. False at the end of the program or at the second int3.
  bool Step() {
    const long word = ptrace(PTRACE_PEEKTEXT, pid_, Registers().rip, nullptr);
    if ((word & 0xff) == 0xcc) return false;
    ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr);
    waitpid(pid_, &status_, 0);
    return WIFSTOPPED(status_);
  }
  user_regs_struct Registers() const {
    user_regs_struct registers{};
    ptrace(PTRACE_GETREGS, pid_, nullptr, &registers);
    return registers;
  }
  pid_t pid() const { return pid_; }

  host_walk Walk() {
    const user_regs_struct r = Registers();
    host_target target{};
    target.context = this;
    target.read_memory = [](void* self, uint64_t address, void* to, uint32_t bytes) {
      iovec local{to, bytes};
      iovec remote{reinterpret_cast<void*>(address), bytes};
      return process_vm_readv(static_cast<Tracee*>(self)->pid_, &local, 1, &remote, 1, 0) ==
                     static_cast<ssize_t>(bytes)
                 ? 0
                 : 1;
    };
    target.find_mapping = [](void* self, uint64_t address, host_mapping* found) {
      for (const host_mapping& mapping : static_cast<Tracee*>(self)->mappings_) {
        if (address >= mapping.start && address < mapping.end) {
          *found = mapping;
          return 1;
        }
      }
      return 0;
    };
    target.tables = tables_.data();
    target.table_count = static_cast<uint32_t>(tables_.size());
    target.rules = rules_.data();
    target.rule_count = static_cast<uint32_t>(rules_.size());
    target.regs = {r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10,    r.r9,  r.r8, r.rax,
                   r.rcx, r.rdx, r.rsi, r.rdi, 0,     r.rip, r.cs,  r.eflags, r.rsp, r.ss};
    host_walk walk{};
    host_walk_user(&target, &walk);
    return walk;
  }
  // The address a frame stands for: a pc, or a return address minus one.
  uint64_t Address(uint64_t frame) const {
    if (frame >> HP_FRAME_KIND_SHIFT == HP_FRAME_ANON) return frame & ~(3ull << 62);
    const uint64_t offset = frame & HP_FRAME_OFFSET_MASK;
    for (const host_mapping& mapping : mappings_) {
      const uint64_t address = offset - mapping.file_delta;
      if (mapping.file_id == frame >> HP_FRAME_FILE_SHIFT && mapping.executable &&
          address >= mapping.start && address < mapping.end) {
        return address;
      }
    }
    return 0;
  }

 private:
  void ReadMappings() {
    mappings_.clear();
    std::ifstream maps("/proc/" + std::to_string(pid_) + "/maps");
    for (std::string line; std::getline(maps, line);) {
      host_mapping mapping{};
      uint64_t offset = 0;
      char permissions[8] = {};
      int path_at = 0;
      std::sscanf(line.c_str(), "%lx-%lx %7s %lx %*s %*s %n", &mapping.start, &mapping.end,
                  permissions, &offset, &path_at);
      const std::string path = line.substr(static_cast<size_t>(path_at));
      mapping.executable = permissions[2] == 'x' ? 1 : 0;
      if (path.starts_with("/")) {
        mapping.file_id = FileIdOf(path);
        mapping.file_delta = offset - mapping.start;
      }
      mappings_.push_back(mapping);
    }
  }
  uint32_t FileIdOf(const std::string& path) {
    const auto [it, is_new] = files_.try_emplace(path, static_cast<uint32_t>(tables_.size()));
    if (!is_new) return it->second;
    host_table entry{};
    const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const Result<ElfFile> elf = ElfFile::Open(fd.get());
    const Result<UnwindTable> table =
        elf ? UnwindTable::FromElf(*elf) : Result<UnwindTable>(std::unexpected(elf.error()));
    if (table) {
      UnwindTable::Words words = table->ToWords();
      // Rules get global numbers, as TableLoader gives them.
      const auto first_rule = static_cast<uint32_t>(rules_.size());
      for (size_t i = words.info.rows_at; i < words.words.size(); i++) {
        const uint32_t local = words.words[i] >> 16;
        const uint32_t global = local == 0 ? 0 : first_rule + local;
        words.words[i] = (words.words[i] & 0xffff) | global << 16;
      }
      rules_.insert(rules_.end(), table->rules().begin(), table->rules().end());
      words_.push_back(std::move(words.words));
      entry.info = words.info;
      entry.words = words_.back().data();
      entry.word_count = static_cast<uint32_t>(words_.back().size());
    }
    tables_.push_back(entry);
    return it->second;
  }

  pid_t pid_ = -1;
  int status_ = 0;
  std::vector<host_mapping> mappings_;
  std::map<std::string, uint32_t> files_;
  std::vector<host_table> tables_;
  std::vector<hp_rule> rules_ = {hp_rule{}};
  std::deque<std::vector<uint32_t>> words_;
};

// elfutils' view of the same stopped process.
class Oracle {
 public:
  explicit Oracle(pid_t pid) : pid_(pid), dwfl_(dwfl_begin(&callbacks_)) {
    dwfl_linux_proc_report(dwfl_, pid);
    dwfl_report_end(dwfl_, nullptr, nullptr);
    dwfl_linux_proc_attach(dwfl_, pid, true);
  }
  ~Oracle() { dwfl_end(dwfl_); }

  // Addresses as we note them: pc, or return address minus one.
  std::vector<uint64_t> Frames() const {
    std::vector<uint64_t> frames;
    dwfl_getthread_frames(
        dwfl_, pid_,
        [](Dwfl_Frame* frame, void* argument) {
          Dwarf_Addr pc = 0;
          bool is_activation = false;
          if (!dwfl_frame_pc(frame, &pc, &is_activation)) return DWARF_CB_ABORT + 0;
          static_cast<std::vector<uint64_t>*>(argument)->push_back(is_activation ? pc : pc - 1);
          return DWARF_CB_OK + 0;
        },
        &frames);
    return frames;
  }

 private:
  static inline char* debug_path_ = nullptr;
  static constexpr Dwfl_Callbacks callbacks_ = {.find_elf = dwfl_linux_proc_find_elf,
                                                .find_debuginfo = dwfl_standard_find_debuginfo,
                                                .section_address = nullptr,
                                                .debuginfo_path = &debug_path_};
  pid_t pid_;
  Dwfl* dwfl_;
};

std::string Hex(const std::vector<uint64_t>& frames) {
  std::ostringstream text;
  for (const uint64_t frame : frames) text << std::hex << " " << frame;
  return text.str();
}

// elfutils 0.188 loses rbx in functions that do not mention it, and with it, rarely, a stack that
// goes on as the one before. `whole`: the last stack that it knew in full.
bool StopsShort(const std::vector<uint64_t>& elfutils, const std::vector<uint64_t>& ours,
                const std::vector<uint64_t>& whole) {
  if (elfutils.size() < 2 || elfutils.size() >= ours.size()) return false;
  const size_t missing = ours.size() - elfutils.size();
  return missing < whole.size() && std::equal(elfutils.begin(), elfutils.end(), ours.begin()) &&
         std::equal(ours.end() - static_cast<ptrdiff_t>(missing), ours.end(),
                    whole.end() - static_cast<ptrdiff_t>(missing));
}

class UnwindStep : public testing::TestWithParam<const char*> {};

TEST_P(UnwindStep, AgreesWithElfutilsAtEveryInstruction) {
  Tracee tracee(GetParam());
  ASSERT_TRUE(tracee.RunToTrap());
  const Oracle oracle(tracee.pid());
  int steps = 0;
  int wrong = 0;
  int short_of_root = 0;
  std::vector<uint64_t> whole;
  for (; steps < kMaxSteps && tracee.Step(); steps++) {
    const std::vector<uint64_t> expected = oracle.Frames();
    const host_walk walk = tracee.Walk();
    std::vector<uint64_t> frames;
    for (uint32_t i = 0; i < walk.frame_count; i++)
      frames.push_back(tracee.Address(walk.frames[i]));
    if (frames == expected && walk.end == HP_WALK_COMPLETE) {
      whole = frames;
      continue;
    }
    if (walk.end == HP_WALK_COMPLETE && StopsShort(expected, frames, whole)) {
      ++short_of_root;
      continue;
    }
    if (++wrong <= 5) {
      ADD_FAILURE() << "step " << steps << ", end " << walk.end << "\n  elfutils " << Hex(expected)
                    << "\n  ours     " << Hex(frames);
    }
  }
  EXPECT_GT(steps, 300);
  EXPECT_EQ(wrong, 0) << "of " << steps << " instructions";
  EXPECT_LE(short_of_root * 100, steps) << "stacks of which elfutils does not know the root";
  RecordProperty("instructions", steps);
}

INSTANTIATE_TEST_SUITE_P(Functions, UnwindStep,
                         testing::Values("qsort", "printf", "malloc", "strtod", "regex", "iostream",
                                         "map", "exception", "overaligned", "time", "binding"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace hotpath
