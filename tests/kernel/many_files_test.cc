// More different files than the kernel side has numbers for: each frame is named after its own
// file.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "harness.h"

namespace hotpath::kernel_tests {
namespace {

constexpr int kPrograms = 120;
constexpr int kNumbers = 48;

// 120 programs one after the other, two at a time, while 48 files at most have a number. All of
// them are in one profile, so those that ran first must keep their names when their numbers are
// given to others.
TEST(ManyFiles, AreNamedRightWhenTheirNumbersAreGivenAgain) {
  const TemporaryDirectory directory;
  std::string script;
  for (int i = 0; i < kPrograms; ++i) {
    const std::string copy = directory.File(fmt::format("copy_{}", i));
    std::filesystem::copy_file(WorkloadPath("basic"), copy);
    script += fmt::format("{} 0.3 >/dev/null &\n", copy);
    if (i % 2 == 1) script += "wait\n";
  }
  std::ofstream(directory.File("run")) << script;

  RecordOptions options;
  options.hz = 999;
  options.seconds = 100;
  options.extra = {"--max-files", std::to_string(kNumbers), "--", "/bin/sh", directory.File("run")};
  const Recording recording = Record(options);

  std::set<std::string> programs;
  int64_t samples = 0, named = 0;
  std::map<std::string, int64_t> wrong;
  for (const StackView& stack : recording.stacks) {
    // Right after the exec a thread has its new name and may still be in the kernel.
    if (!stack.comm.starts_with("copy_")) continue;
    for (const FrameView& frame : stack.frames) {
      if (frame.mapping.starts_with("copy_") && frame.mapping != stack.comm) {
        wrong[stack.comm + " in " + frame.mapping] += stack.samples;
      }
    }
    const bool in_basic = Matches(stack, "basic_leaf|basic_caller <- ...");
    samples += stack.samples;
    if (!in_basic) continue;
    named += stack.samples;
    programs.insert(stack.comm);
  }
  for (const auto& [what, count] : wrong) ADD_FAILURE() << what << ": " << count << " samples";
  EXPECT_EQ(programs.size(), static_cast<size_t>(kPrograms));
  EXPECT_GT(samples, kPrograms * 60);
  // What starts a program and ends it is libc's, the dynamic loader's and the kernel's.
  EXPECT_GE(static_cast<double>(named), 0.9 * static_cast<double>(samples));
  EXPECT_TRUE(NothingLost(recording.stacks));
}

}  // namespace
}  // namespace hotpath::kernel_tests
