// Stacks of truth programs, frame by frame: one rule of unwinding each.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "harness.h"

namespace hotpath::kernel_tests {
namespace {

// Of the samples of a truth program; the rest is the loader's, the clock's, a signal's.
constexpr double kNearlyAll = 0.99;
constexpr double kComplete = 0.995;

std::string From(const std::string& frames) { return frames + " <- " + kFromMain; }

TEST(Unwinding, FollowsAStackOf400FramesToItsRoot) {
  const auto program = StartWorkload("deep", {"0", "400"});
  const Recording recording = RecordProcess(program->pid());
  EXPECT_TRUE(StacksMatch(recording.stacks, OfPid(program->pid()),
                          {From("deep_leaf{0,1} <- deep_level{400}")}, kNearlyAll));
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), kComplete));
}

TEST(Unwinding, KeepsOrderAndNumberOf400DifferentFrames) {
  const auto program = StartWorkload("deep_distinct");
  const Recording recording = RecordProcess(program->pid());
  std::string pattern = "distinct_leaf <- distinct_bottom";
  for (int level = 0; level < 400; ++level) pattern += fmt::format(" <- distinct_{:03}", level);
  EXPECT_TRUE(StacksMatch(recording.stacks, Both(OfPid(program->pid()), WithLeaf("distinct_leaf")),
                          {From(pattern)}, kNearlyAll));
}

TEST(Unwinding, KeepsAllOf600Frames) {
  const auto program = StartWorkload("deep", {"0", "600"});
  const Recording recording = RecordProcess(program->pid());
  EXPECT_TRUE(StacksMatch(recording.stacks, OfPid(program->pid()),
                          {From("deep_leaf{0,1} <- deep_level{600}")}, kNearlyAll));
}

// 1,024 frames are kept: 896 on the leaf side, 128 on the root side.
TEST(Unwinding, CutsTheMiddleOf1500FramesAndKeepsBothEnds) {
  const auto program = StartWorkload("deep", {"0", "1500"});
  const Recording recording = RecordProcess(program->pid());
  EXPECT_TRUE(StacksMatch(recording.stacks, OfPid(program->pid()),
                          {From("deep_leaf{0,1} <- deep_level{890,} <- [truncated: frame limit] <- "
                                "deep_level{120,}")},
                          kNearlyAll));
}

TEST(Unwinding, SaysWhereAStackOf10000FramesIsCut) {
  const auto program = StartWorkload("deep", {"0", "10000"});
  const Recording recording = RecordProcess(program->pid());
  EXPECT_TRUE(StacksMatch(recording.stacks, OfPid(program->pid()),
                          {"deep_leaf{0,1} <- deep_level{890,} <- [truncated: frame limit]"},
                          kNearlyAll));
  EXPECT_TRUE(StacksHold(
      recording.stacks, OfPid(program->pid()),
      [](const StackView& stack) { return stack.cut == "frame limit"; }, kNearlyAll,
      "have a label that says so"));
}

TEST(Unwinding, FollowsFunctionsThatCallEachOther) {
  const auto program = StartWorkload("recursion");
  const Recording recording = RecordProcess(program->pid());
  std::string pattern = "recursion_leaf";
  for (int i = 0; i < 20; ++i) pattern += " <- recursion_odd <- recursion_even";
  const Selector leaf = Both(OfPid(program->pid()), WithLeaf("recursion_leaf"));
  EXPECT_TRUE(StacksMatch(recording.stacks, leaf, {From(pattern)}, kNearlyAll));
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), kComplete));
}

TEST(Unwinding, ShowsTheCallerOfATailCallWithoutTheFunctionThatJumped) {
  const auto program = StartWorkload("tail_calls");
  const Recording recording = RecordProcess(program->pid());
  EXPECT_TRUE(StacksMatch(recording.stacks, OfPid(program->pid()),
                          {From("tail_target <- tail_caller"), From("endless <- calls_endless")},
                          kNearlyAll));
  const Selector endless = Both(OfPid(program->pid()), WithLeaf("endless"));
  EXPECT_TRUE(StacksMatch(recording.stacks, endless, {From("endless <- calls_endless")}, 1.0));
}

TEST(Unwinding, GoesFromASignalHandlerToTheFunctionItInterrupted) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{}, std::vector<std::string>{"0", "altstack"}}) {
    SCOPED_TRACE(arguments.empty() ? "on the thread's stack" : "on an alternate stack");
    const auto program = StartWorkload("signal_handler", arguments);
    const Recording recording = RecordProcess(program->pid());
    const Selector handler = Both(OfPid(program->pid()), WithLeaf("handler_work"));
    EXPECT_TRUE(StacksMatch(
        recording.stacks, handler,
        {From("handler_work <- on_alarm <- __restore_rt|libc.so.6+0x* <- interrupted_work{0,1} <- "
              "interrupted_caller{0,1}")},
        0.995));
    EXPECT_TRUE(StacksMatch(recording.stacks,
                            Both(OfPid(program->pid()), WithLeaf("interrupted_work")),
                            {From("interrupted_work <- interrupted_caller")}, 0.995));
  }
}

TEST(Unwinding, FindsTheCallerOfAPltStubAndNamesTheStub) {
  for (const char* name : {"plt_heavy", "plt_heavy_ibt"}) {
    SCOPED_TRACE(name);
    const auto program = StartWorkload(name);
    const Recording recording = RecordProcess(program->pid(), 999, 3);
    const Selector stub = Both(OfPid(program->pid()), WithLeaf("plt_callee_*@plt"));
    EXPECT_TRUE(
        StacksMatch(recording.stacks, stub, {From("plt_callee_*@plt <- plt_caller")}, 1.0, 20));
    EXPECT_TRUE(StacksMatch(recording.stacks, OfPid(program->pid()),
                            {From("plt_callee_*{0,1} <- plt_caller")}, kNearlyAll));
    EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), kComplete));
  }
}

TEST(Unwinding, FollowsCallsOutOfTheVdso) {
  const auto program = StartWorkload("vdso_heavy");
  const Recording recording = RecordProcess(program->pid());
  const Selector in_vdso = Both(OfPid(program->pid()), [](const StackView& stack) {
    return std::ranges::any_of(stack.frames, [](const FrameView& frame) {
      return frame.mapping == "[vdso]" || frame.mapping.starts_with("linux-vdso");
    });
  });
  EXPECT_TRUE(StacksMatch(recording.stacks, in_vdso,
                          {From("*vdso*|clock_gettime{1,} <- *clock_gettime*|libc.so.6+0x* <- "
                                "vdso_caller")},
                          kNearlyAll));
  EXPECT_GT(Share(recording.stacks, OfPid(program->pid()), in_vdso), 0.5);
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), kComplete));
}

// gcc's and clang's frames for the same sources.
void ExpectStackShapes(const std::string& program_name, bool red_zone_by_name) {
  const auto program = StartWorkload(program_name);
  const Recording recording = RecordProcess(program->pid(), 499, 4);
  for (const char* frame : {"alloca_frame", "overaligned_frame", "drap_frame", "big_frame"}) {
    SCOPED_TRACE(frame);
    // As the caller of a leaf, and as the leaf itself.
    EXPECT_TRUE(StacksMatch(recording.stacks, Both(OfPid(program->pid()), WithFrame(frame)),
                            {From(fmt::format("frame_leaf{{0,1}} <- {}", frame))}, 0.995));
  }
  if (red_zone_by_name) {
    EXPECT_TRUE(StacksMatch(recording.stacks,
                            Both(OfPid(program->pid()), WithLeaf("red_zone_leaf")),
                            {From("red_zone_leaf <- red_zone_caller")}, 1.0));
  }
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), kComplete));
}

TEST(Unwinding, FindsFramesWhoseSizeOrPlaceIsNoConstant) {
  ExpectStackShapes("stack_shapes", true);
}

TEST(Unwinding, FindsTheSameFramesWhenClangMadeThem) {
  if (!WorkloadExists("clang_stack_shapes")) GTEST_SKIP() << "no clang when the tests were built";
  ExpectStackShapes("clang_stack_shapes", true);
}

TEST(Unwinding, FindsAFrameByRbxThatOthersSavedAndUsed) {
  const auto program = StartWorkload("rbx_frame");
  const Recording recording = RecordProcess(program->pid(), 499, 4);
  const Selector leaf = Both(OfPid(program->pid()), WithLeaf("rbx_leaf"));
  const std::string saved = "rbx_leaf <- rbx_pushes <- rbx_realigns <- rbx_frame <- rbx_caller";
  const std::string unused = "rbx_leaf <- rbx_frame <- rbx_caller";
  const std::string handler = "rbx_leaf <- rbx_pushes <- on_tick <- __restore_rt|libc.so.6+0x* <- ";
  EXPECT_TRUE(StacksMatch(
      recording.stacks, leaf,
      {From(saved), From(unused), From(handler + saved), From(handler + unused)}, kNearlyAll));
  // Each way to lose it is seen often.
  for (const std::string& frames : {saved, unused, handler + saved, handler + unused}) {
    EXPECT_FALSE(StacksMatch(recording.stacks, leaf, {From(frames)}, 1.0));
    EXPECT_TRUE(StacksMatch(recording.stacks, leaf, {From(frames)}, 0.02));
  }
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), kComplete));
}

void ExpectEpilogues(const std::string& program_name) {
  const auto program = StartWorkload(program_name);
  const Recording recording = RecordProcess(program->pid(), 999, 3);
  EXPECT_TRUE(StacksMatch(recording.stacks, Both(OfPid(program->pid()), WithLeaf("tiny_*")),
                          {From("tiny_* <- epilogue_caller")}, 1.0, 200));
  EXPECT_TRUE(StacksMatch(recording.stacks, OfPid(program->pid()),
                          {From("tiny_*{0,1} <- epilogue_caller")}, kNearlyAll));
}

TEST(Unwinding, FindsTheCallerAtEachInstructionOfATinyFunction) { ExpectEpilogues("epilogues"); }

TEST(Unwinding, FindsTheCallerOfClangsTinyFunctionsToo) {
  if (!WorkloadExists("clang_epilogues")) GTEST_SKIP() << "no clang when the tests were built";
  ExpectEpilogues("clang_epilogues");
}

TEST(Unwinding, ReachesMainFromInsideTheExceptionUnwinder) {
  const auto program = StartWorkload("exceptions");
  const Recording recording = RecordProcess(program->pid(), 499, 4);
  EXPECT_TRUE(StacksMatch(
      recording.stacks, OfPid(program->pid()),
      {From("... <- throw_level*{1,10} <- catch_loop"), From("... <- catch_loop")}, kNearlyAll));
  const Selector unwinding = Both(OfPid(program->pid()), WithFrame("_Unwind_RaiseException"));
  const std::string throwing =
      "... <- _Unwind_RaiseException <- __cxa_throw <- throw_level*{10} <- catch_loop";
  // Before it resumes at the handler, libgcc writes the handler's registers over those that
  // _Unwind_RaiseException saved, its return address among them: from then on it returns to
  // catch_loop, and who called it is nowhere any more (about 1 % of these samples).
  const std::string resuming = "*{0,1} <- _Unwind_RaiseException <- catch_loop";
  EXPECT_TRUE(StacksMatch(recording.stacks, unwinding, {From(throwing), From(resuming + " <- ...")},
                          kNearlyAll));
  EXPECT_TRUE(StacksMatch(recording.stacks, unwinding, {From(throwing)}, 0.96));
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), kComplete));
}

TEST(Unwinding, EndsAThreadsStackAtItsStart) {
  const auto program = StartWorkload("threads");
  const Recording recording = RecordProcess(program->pid(), 499, 3);
  const std::string root = std::string(" <- ") + kFromThread;
  const Selector posix = Both(OfPid(program->pid()), WithLeaf("posix_work"));
  EXPECT_TRUE(StacksMatch(recording.stacks, posix, {"posix_work <- posix_worker" + root}, 0.995));
  const Selector standard = Both(OfPid(program->pid()), WithLeaf("std_work"));
  EXPECT_TRUE(StacksMatch(recording.stacks, standard,
                          {"std_work <- std_worker <- *{0,8} <- "
                           "execute_native_thread_routine|libstdc++.so.6*+0x*" +
                           root},
                          0.995));
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), kComplete));
  for (const auto& [of, comm] :
       {std::pair(posix, "posix-worker"), std::pair(standard, "std-worker")}) {
    EXPECT_TRUE(StacksHold(
        recording.stacks, of,
        [comm](const StackView& stack) {
          return stack.comm == comm && stack.process == "threads" && stack.tid != stack.pid;
        },
        1.0, std::string("are labelled as the thread ") + comm));
  }
}

TEST(Unwinding, FollowsAVforkedChildOnItsParentsStack) {
  const auto program = StartWorkload("vfork_loop");
  RecordOptions options;  // The whole machine: the children have pids of their own.
  options.seconds = 3;
  const Recording recording = Record(options);
  const Selector program_and_children = [](const StackView& stack) {
    return stack.process == "vfork_loop" || stack.comm == "vfork_loop";
  };
  const Selector child = Both(program_and_children, WithLeaf("vfork_child_work"));
  EXPECT_TRUE(
      StacksMatch(recording.stacks, child, {From("vfork_child_work <- vfork_caller")}, 0.995));
  // In the kernel with the return address in a register.
  EXPECT_TRUE(StacksMatch(recording.stacks, Both(program_and_children, WithLeaf("*vfork")),
                          {From("*vfork <- vfork_caller")}, 0.995, 1));
  EXPECT_TRUE(StacksComplete(recording.stacks, program_and_children, kComplete));
}

TEST(Unwinding, PutsKernelFramesOnTopOfTheUserFramesThatCalled) {
  const auto program = StartWorkload("kernel_heavy");
  const Recording recording = RecordProcess(program->pid());
  const Selector reading = Both(OfPid(program->pid()), WithFrame("read_zero"));
  EXPECT_TRUE(StacksMatch(recording.stacks, reading,
                          {From("[kernel] <- *read|libc.so.6+0x* <- read_caller")}, 0.995));
  const Selector calling = Both(OfPid(program->pid()), WithFrame("getppid_caller"));
  EXPECT_TRUE(StacksMatch(recording.stacks, calling,
                          {From("[kernel] <- syscall|libc.so.6+0x* <- getppid_caller"),
                           From("syscall|libc.so.6+0x*|syscall@plt{0,1} <- getppid_caller")},
                          kNearlyAll));
  const Selector entered = Both(reading, WithFrame("entry_SYSCALL_64_after_hwframe"));
  EXPECT_GT(Share(recording.stacks, reading, entered), 0.99);
  EXPECT_TRUE(StacksComplete(recording.stacks, OfPid(program->pid()), kComplete));
}

}  // namespace
}  // namespace hotpath::kernel_tests
