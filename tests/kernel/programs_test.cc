// Truth programs by how they are linked, described, started and written: names and roots.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <set>
#include <thread>

#include "harness.h"

namespace hotpath::kernel_tests {
namespace {

constexpr double kNearlyAll = 0.99;
constexpr double kComplete = 0.995;

std::string From(const std::string& frames) { return frames + " <- " + kFromMain; }

// What every build of basic.c must show.
void ExpectBasic(const Recording& recording, pid_t pid, const std::string& root) {
  EXPECT_TRUE(StacksMatch(recording.stacks, Both(OfPid(pid), WithLeaf("basic_leaf")),
                          {"basic_leaf <- basic_caller <- " + root}, kNearlyAll));
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(pid), kComplete));
  EXPECT_TRUE(NothingLost(recording.stacks));
}

void ExpectBasicWorkload(const std::string& name, const std::string& root = kFromMain) {
  const auto program = StartWorkload(name);
  ExpectBasic(RecordProcess(program->pid()), program->pid(), root);
}

TEST(Programs, ArePositionIndependent) { ExpectBasicWorkload("basic"); }
TEST(Programs, AreAtAFixedAddress) { ExpectBasicWorkload("no_pie"); }
TEST(Programs, AreStatic) { ExpectBasicWorkload("static_glibc"); }
TEST(Programs, AreStaticAndPositionIndependent) { ExpectBasicWorkload("static_pie"); }
TEST(Programs, AreDescribedByDebugFrameOnly) { ExpectBasicWorkload("debug_frame"); }
TEST(Programs, KeepFramePointersAndHaveNoTable) { ExpectBasicWorkload("frame_pointer"); }

TEST(Programs, AreStaticWithMusl) {
  if (!WorkloadExists("musl_static")) GTEST_SKIP() << "no musl-gcc when the tests were built";
  ExpectBasicWorkload("musl_static", "main <- *start* <- ...");
}

TEST(Programs, AreMadeByClang) {
  if (!WorkloadExists("clang_basic")) GTEST_SKIP() << "no clang when the tests were built";
  ExpectBasicWorkload("clang_basic");
}

TEST(Programs, AreDeletedWhileTheyRun) {
  const TemporaryDirectory directory;
  const std::string copy = directory.File("deleted");
  std::filesystem::copy_file(WorkloadPath("basic"), copy);
  const auto program = StartAndWaitReady({copy});
  std::filesystem::remove(copy);
  ExpectBasic(RecordProcess(program->pid()), program->pid(), kFromMain);
}

TEST(Programs, LiveInAnotherMountNamespace) {
  const TemporaryDirectory directory;
  ChildProcess::Options options;
  // A tmpfs that only the child sees, with the program in it.
  options.before_exec = [&directory] {
    std::error_code error;
    return unshare(CLONE_NEWNS) == 0 &&
           mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           mount("none", directory.path().c_str(), "tmpfs", 0, nullptr) == 0 &&
           std::filesystem::copy_file(WorkloadPath("basic"), directory.File("hidden"), error);
  };
  const auto program = StartAndWaitReady({directory.File("hidden")}, options);
  ASSERT_FALSE(std::filesystem::exists(directory.File("hidden")));
  ExpectBasic(RecordProcess(program->pid()), program->pid(), kFromMain);
}

// Start of each function of the twin that kept its symbols, by name.
uint64_t AddressIn(const std::string& program, const std::string& function) {
  FILE* names = popen(fmt::format("nm {}", program).c_str(), "re");
  if (names == nullptr) return 0;
  std::array<char, 512> line{};
  uint64_t found = 0;
  while (fgets(line.data(), line.size(), names) != nullptr) {
    unsigned long address = 0;
    char type = 0;
    std::array<char, 256> name{};
    if (sscanf(line.data(), "%lx %c %255s", &address, &type, name.data()) == 3 &&
        function == name.data()) {
      found = address;
    }
  }
  pclose(names);
  return found;
}

TEST(Programs, WithoutSymbolsShowOneRowAFunction) {
  const auto program = StartWorkload("stripped");
  const Recording recording = RecordProcess(program->pid());
  const std::string twin = WorkloadPath("stripped_full");
  const auto name = [&](const char* function) {
    return fmt::format("stripped+0x{:x}", AddressIn(twin, function));
  };
  const std::string stack = fmt::format(
      "{} <- {} <- {} <- __libc_start_call_main|libc.so.6+0x* <- __libc_start_main*|libc.so.6+0x* "
      "<- {}",
      name("basic_leaf"), name("basic_caller"), name("main"), name("_start"));
  EXPECT_TRUE(StacksMatch(recording.stacks, OfPid(program->pid()), {stack}, 0.98));
  std::set<std::string> names;
  for (const StackView& sample : recording.stacks) {
    if (sample.pid != program->pid()) continue;
    for (const FrameView& frame : sample.frames) {
      if (frame.mapping == "stripped") names.insert(frame.function);
    }
  }
  EXPECT_THAT(names, testing::IsSubsetOf(
                         {name("basic_leaf"), name("basic_caller"), name("main"), name("_start")}));
}

void ExpectInlined(const std::string& program_name) {
  const auto program = StartWorkload(program_name);
  const Recording recording = RecordProcess(program->pid());
  EXPECT_TRUE(StacksMatch(recording.stacks, OfPid(program->pid()),
                          {From("inlined_inner* <- inlined_middle* <- inlined_outer")}, 0.98));
  const std::map<std::string, int64_t> lines = {
      {"inlined_inner", LineOf("inlined.cc", "MARK inner")},
      {"inlined_middle", LineOf("inlined.cc", "MARK middle")},
      {"inlined_outer", LineOf("inlined.cc", "MARK outer")},
      {"main", LineOf("inlined.cc", "MARK main")}};
  const auto frame_is_right = [&lines](const FrameView& frame) {
    const std::string function = frame.function.substr(0, frame.function.find('('));
    const auto expected = lines.find(function);
    if (expected == lines.end()) return true;
    // The loop of the innermost one is its "for" line and the line of its body.
    const int64_t slack = function == "inlined_inner" ? 1 : 0;
    return frame.file.ends_with("inlined.cc") && frame.line <= expected->second &&
           frame.line >= expected->second - slack &&
           frame.inlined == (function == "inlined_inner" || function == "inlined_middle");
  };
  EXPECT_TRUE(StacksHold(
      recording.stacks, Both(OfPid(program->pid()), WithFrame("inlined_inner*")),
      [&](const StackView& stack) { return std::ranges::all_of(stack.frames, frame_is_right); },
      1.0, "have the right file and line in each frame"));
}

TEST(Programs, ShowInlinedFunctionsWithTheirLines) { ExpectInlined("inlined"); }
TEST(Programs, ShowInlinedFunctionsFromCompressedDebugInformation) {
  ExpectInlined("inlined_compressed");
}

TEST(Programs, OpenAPluginWhileTheProfilerRuns) {
  // Opened 800 ms after the start, by a program whose file is known by then.
  const auto program = StartWorkload("plugin", {"0", WorkloadPath("libplugin_library.so"), "800"});
  const Recording recording = RecordProcess(program->pid(), 499, 5);
  EXPECT_TRUE(StacksMatch(recording.stacks, Both(OfPid(program->pid()), WithLeaf("plugin_work")),
                          {From("plugin_work <- plugin_entry <- plugin_driver")}, kNearlyAll));
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), kComplete));
}

TEST(Programs, BecomeOthersByExecInTheMiddleOfAProfile) {
  std::unique_ptr<ChildProcess> program;
  RecordOptions options;
  options.seconds = 30;
  options.until_done = [&program] {
    program = StartAndWaitReady(
        {"/bin/bash", "-c",
         fmt::format("while ((SECONDS < 2)); do :; done; exec {}", WorkloadPath("basic"))});
    std::this_thread::sleep_for(std::chrono::seconds(1));
  };
  const Recording recording = Record(options);
  const Selector of = OfPid(program->pid());
  const auto is_basic = [](const StackView& stack) { return stack.process == "basic"; };
  const auto is_bash = [](const StackView& stack) { return stack.process == "bash"; };
  EXPECT_TRUE(StacksHold(recording.stacks, Both(of, is_bash), OfExe("bash"), 1, "are of bash"));
  EXPECT_TRUE(StacksHold(recording.stacks, Both(of, is_basic), OfExe("basic"), 1, "are of basic"));
}

TEST(Programs, RunCodeWrittenAtRunTime) {
  const auto program = StartWorkload("jit");
  const Recording recording = RecordProcess(program->pid());
  EXPECT_TRUE(StacksMatch(recording.stacks, OfPid(program->pid()),
                          {From("jit_inner <- jit_outer <- jit_driver")}, kNearlyAll));
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), kComplete));
}

void ExpectRust(const std::string& program_name) {
  if (!WorkloadExists(program_name)) GTEST_SKIP() << "no rustc when the tests were built";
  const auto program = StartWorkload(program_name);
  const Recording recording = RecordProcess(program->pid());
  EXPECT_TRUE(StacksMatch(recording.stacks, Both(OfPid(program->pid()), WithFrame("rust_leaf")),
                          {From("... <- rust_leaf <- "
                                "<rust_program::Chain as rust_program::Step>::rust_step <- "
                                "rust_caller <- rust_program::main <- ...")},
                          kNearlyAll));
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), kComplete));
}

TEST(Programs, AreWrittenInRustAndUnwindOnPanic) { ExpectRust("rust_unwind"); }
TEST(Programs, AreWrittenInRustAndAbortOnPanic) { ExpectRust("rust_abort"); }

void ExpectGo(const std::string& program_name) {
  if (!WorkloadExists(program_name)) GTEST_SKIP() << "no go when the tests were built";
  const auto program = StartWorkload(program_name);
  const Recording recording = RecordProcess(program->pid(), 499, 3);
  EXPECT_TRUE(
      StacksMatch(recording.stacks, Both(OfPid(program->pid()), WithLeaf("main.goLeaf")),
                  {"main.goLeaf <- main.goCaller <- main.main <- runtime.main <- runtime.goexit*",
                   "main.goLeaf <- main.goCaller <- main.goWorker <- *{0,1} <- runtime.goexit*"},
                  kNearlyAll));
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), 0.99));
  EXPECT_GT(NamedShare(recording.stacks, OfPid(program->pid())), 0.99);
}

TEST(Programs, AreWrittenInGo) { ExpectGo("go_program"); }
TEST(Programs, AreWrittenInGoAndStripped) { ExpectGo("go_stripped"); }

}  // namespace
}  // namespace hotpath::kernel_tests
