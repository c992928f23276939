// The matcher of the kernel tests, tried on profiles made by hand.
#include "stacks.h"

#include <gmock/gmock.h>

namespace hotpath::kernel_tests {
namespace {

// One sample whose locations hold one function each; "k:name" is a kernel frame, "a+b" one location
// with `a` inlined in `b`, "[...]" a synthetic frame.
pprof::Profile ProfileOf(const std::vector<std::string>& names, int64_t pid = 7) {
  pprof::Profile profile;
  profile.sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}};
  for (const char* file : {"/usr/bin/program", "[kernel.kallsyms]", "[hotpath]"}) {
    profile.mappings.emplace_back().file = file;
  }
  pprof::Sample sample;
  sample.values = {2, 20};
  sample.labels.push_back({.key = "pid", .str = "", .num = pid, .num_unit = ""});
  for (std::string name : names) {
    pprof::Location location;
    location.mapping = name.starts_with("k:") ? 1 : name.starts_with("[") ? 2 : 0;
    if (name.starts_with("k:")) name = name.substr(2);
    const size_t plus = name.find('+');
    for (const std::string& part :
         plus == std::string::npos || name.find("+0x") != std::string::npos
             ? std::vector<std::string>{name}
             : std::vector<std::string>{name.substr(0, plus), name.substr(plus + 1)}) {
      location.lines.push_back({static_cast<uint32_t>(profile.functions.size()), 1});
      profile.functions.push_back({part, part, "", 0});
    }
    sample.locations.push_back(static_cast<uint32_t>(profile.locations.size()));
    profile.locations.push_back(location);
  }
  profile.samples.push_back(sample);
  return profile;
}

StackView StackOf(const std::vector<std::string>& names) { return ReadStacks(ProfileOf(names))[0]; }

TEST(StackPattern, NamesEveryFrameFromLeafToRoot) {
  const StackView stack = StackOf({"leaf", "caller", "main"});
  EXPECT_TRUE(Matches(stack, "leaf <- caller <- main"));
  EXPECT_FALSE(Matches(stack, "leaf <- caller"));
  EXPECT_FALSE(Matches(stack, "leaf <- main"));
  EXPECT_FALSE(Matches(stack, "caller <- leaf <- main"));
}

TEST(StackPattern, TakesGlobsAlternativesAndAnyNumberOfFrames) {
  const StackView stack = StackOf({"leaf", "deep<3>", "deep<2>", "main", "libc.so.6+0x2710"});
  EXPECT_TRUE(Matches(stack, "leaf <- deep<*> <- deep<2> <- main <- start|libc.so.6+0x*"));
  EXPECT_TRUE(Matches(stack, "leaf <- ... <- main <- ..."));
  EXPECT_TRUE(Matches(stack, "... <- libc*"));
  EXPECT_TRUE(Matches(stack, "leaf <- ... <- deep<3> <- ..."));
  EXPECT_FALSE(Matches(stack, "... <- main"));
}

TEST(StackPattern, CountsRepeatedFrames) {
  const StackView stack = StackOf({"leaf", "level", "level", "level", "main"});
  EXPECT_TRUE(Matches(stack, "leaf <- level{3} <- main"));
  EXPECT_TRUE(Matches(stack, "leaf <- level{2,} <- main"));
  EXPECT_TRUE(Matches(stack, "nothing{0,1} <- leaf <- level{1,3} <- main"));
  EXPECT_FALSE(Matches(stack, "leaf <- level{2} <- main"));
  EXPECT_FALSE(Matches(stack, "leaf <- level{4,} <- main"));
}

TEST(StackPattern, IgnoresKernelFramesOnTopUnlessItNamesThem) {
  const StackView stack = StackOf({"k:irq", "k:entry", "leaf", "main"});
  EXPECT_TRUE(Matches(stack, "leaf <- main"));
  EXPECT_TRUE(Matches(stack, "[kernel] <- leaf <- main"));
  EXPECT_FALSE(Matches(StackOf({"leaf", "main"}), "[kernel] <- leaf <- main"));
  EXPECT_FALSE(Matches(StackOf({"k:irq", "k:kthread"}), "..."));
}

TEST(StackPattern, SeesInlinedFunctionsAsFrames) {
  const StackView stack = StackOf({"inner+outer", "main"});
  EXPECT_TRUE(Matches(stack, "inner <- outer <- main"));
  EXPECT_TRUE(stack.frames[0].inlined);
  EXPECT_FALSE(stack.frames[1].inlined);
}

TEST(StackShares, FailWithTheOffendingStacksInWords) {
  pprof::Profile profile = ProfileOf({"leaf", "main"});
  const auto good = ReadStacks(profile);
  auto both = good;
  both.push_back(StackOf({"leaf", "[truncated: no unwind rule]"}));
  both.back().cut = "no unwind rule";
  EXPECT_TRUE(StacksMatch(good, OfPid(7), {"leaf <- main"}, 1.0, 2));
  EXPECT_FALSE(StacksMatch(good, OfPid(8), {"leaf <- main"}, 0.0, 1));
  EXPECT_TRUE(StacksComplete(both, OfPid(7), 0.5, 4));
  const auto result = StacksComplete(both, OfPid(7), 0.6, 4);
  EXPECT_FALSE(result);
  EXPECT_THAT(result.message(), testing::HasSubstr("2 x leaf <- [truncated: no unwind rule]"));
  EXPECT_DOUBLE_EQ(Share(both, OfPid(7), IsComplete), 0.5);
  EXPECT_DOUBLE_EQ(NamedShare(both, OfPid(7)), 0.75);
  EXPECT_EQ(CpuNs(both, WithLeaf("leaf")), 40);
}

TEST(StackShares, LeaveOutStacksOfPendingTablesUpToTheAllowance) {
  auto stacks = ReadStacks(ProfileOf({"leaf", "main"}));
  stacks.push_back(StackOf({"leaf", "[truncated: table pending]"}));
  stacks.back().cut = "table pending";
  stacks.back().cpu_ns = kPendingAllowanceNs;
  EXPECT_TRUE(StacksMatch(stacks, OfPid(7), {"leaf <- main"}, 1.0, 2));
  EXPECT_TRUE(StacksComplete(stacks, OfPid(7), 1.0, 2));
  EXPECT_FALSE(StacksHold(stacks, OfPid(7), IsComplete, 1.0, "are complete", 2));
  stacks.back().cpu_ns += 1;
  EXPECT_FALSE(StacksMatch(stacks, OfPid(7), {"leaf <- main"}, 1.0, 2));
  EXPECT_FALSE(StacksComplete(stacks, OfPid(7), 1.0, 2));
}

TEST(StackShares, TellLossesFromStacks) {
  auto stacks = ReadStacks(ProfileOf({"[lost: ring buffer full]"}));
  EXPECT_TRUE(stacks[0].lost);
  EXPECT_FALSE(NothingLost(stacks));
  EXPECT_TRUE(NothingLost(ReadStacks(ProfileOf({"leaf", "main"}))));
}

}  // namespace
}  // namespace hotpath::kernel_tests
