// Hits to gaps, each case with its hits in sight.
#include "daemon/estimate/window_sums.h"

#include <gtest/gtest.h>

#include <vector>

namespace hotpath {
namespace {

using enum HitKind;

constexpr double kTrap_ns = 500;

Hit At(uint64_t time_ns, HitKind kind, uint32_t size_bytes = 0) {
  return {.time_ns = time_ns, .tid = 1, .size_bytes = size_bytes, .kind = kind};
}

WindowSums Sum(const std::vector<Hit>& hits, bool running = true) {
  return SumGaps(hits, running, 100'000, 200'000, kTrap_ns);
}

TEST(SumGaps, TellsTrapsFromCalls) {
  const WindowSums sums = Sum({At(100'100, kFirst, 16), At(100'600, kSecond),
                               At(101'200, kFirst, 32), At(101'700, kSecond)});
  EXPECT_EQ(sums.calls, 2U);
  EXPECT_EQ(sums.traps, 4U);
  EXPECT_EQ(sums.size_bytes, 48U);
  EXPECT_EQ(sums.trap.count, 2U);
  EXPECT_EQ(sums.trap.ns, 1'000U);
  EXPECT_EQ(sums.close_call.count, 1U);
  EXPECT_EQ(sums.close_call.ns, 600U);
  EXPECT_EQ(sums.after.ns, 98'300U);
  EXPECT_EQ(sums.short_befores, 1U);
  EXPECT_EQ(sums.on_cpu_ns, 100'000U);
}

TEST(SumGaps, SortsGapsByLength) {
  const WindowSums sums = Sum({At(110'000, kFirst), At(110'500, kSecond), At(113'000, kFirst),
                               At(113'500, kSecond), At(120'000, kFirst), At(126'000, kSecond)});
  EXPECT_EQ(sums.before_ns, 10'000U);
  EXPECT_EQ(sums.close_call.count, 0U);
  EXPECT_EQ(sums.call.ns, 2'500U);
  EXPECT_EQ(sums.long_call.ns, 6'500U);
  EXPECT_EQ(sums.long_trap.ns, 6'000U);
  EXPECT_EQ(sums.trap.count, 2U);
}

TEST(SumGaps, DropsGapsAcrossASwitchAndCountsOnlyTimeOnCpu) {
  const WindowSums sums = Sum({At(100'500, kFirst), At(101'000, kSecond), At(102'000, kSwitchOut),
                               At(150'000, kSwitchIn), At(150'200, kFirst), At(150'700, kSecond)});
  EXPECT_EQ(sums.on_cpu_ns, 2'000U + 50'000U);
  EXPECT_EQ(sums.trap.count, 2U);
  EXPECT_EQ(sums.close_call.count + sums.call.count + sums.long_call.count, 0U);
  EXPECT_EQ(sums.after.ns, 1'000U + 49'300U);
  EXPECT_EQ(sums.short_befores, 2U);
}

TEST(SumGaps, DropsTheGapThatHoldsAStackWalk) {
  const WindowSums sums =
      Sum({At(100'500, kFirst), At(101'000, kWalked), At(105'000, kFirst), At(105'500, kSecond)});
  EXPECT_EQ(sums.walked.count, 1U);
  EXPECT_EQ(sums.walked.ns, 4'000U);
  EXPECT_EQ(sums.trap.count, 2U);
  EXPECT_EQ(sums.close_call.count + sums.call.count + sums.long_call.count, 0U);
}

TEST(SumGaps, KnowsWhoRanFromTheFirstEvent) {
  EXPECT_EQ(Sum({}, false).on_cpu_ns, 0U);
  EXPECT_EQ(Sum({}, true).on_cpu_ns, 100'000U);
  EXPECT_EQ(Sum({At(130'000, kOnly)}, false).on_cpu_ns, 100'000U);
  EXPECT_EQ(Sum({At(130'000, kSwitchOut)}, false).on_cpu_ns, 30'000U);
  EXPECT_EQ(Sum({At(130'000, kSwitchIn)}, false).on_cpu_ns, 70'000U);
}

TEST(SumGaps, IgnoresHitsOutside) {
  const WindowSums sums = Sum({At(1'000, kFirst), At(150'000, kOnly), At(300'000, kFirst)});
  EXPECT_EQ(sums.calls, 1U);
  EXPECT_EQ(sums.on_cpu_ns, 100'000U);
}

TEST(MedianTrap, NeedsEightGaps) {
  std::vector<Hit> hits;
  for (uint64_t i = 0; i < 7; ++i) {
    hits.push_back(At(i * 10'000, kFirst));
    hits.push_back(At(i * 10'000 + 400 + i, kSecond));
  }
  EXPECT_EQ(MedianTrap(hits), 0);
  hits.push_back(At(70'000, kFirst));
  hits.push_back(At(90'000, kWalked));
  EXPECT_EQ(MedianTrap(hits), 404);
}

}  // namespace
}  // namespace hotpath
