// Rates under a budget, second by second.
#include "daemon/govern/cpu_governor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace hotpath {
namespace {

// The rates that follow each other while each second costs `used_s(hz)`.
template <typename Used>
std::vector<int> Rates(CpuGovernor& governor, int seconds, const Used& used_s) {
  std::vector<int> rates;
  int hz = 19;
  for (int i = 0; i < seconds; ++i) {
    hz = governor.Step(1, used_s(hz)).hz;
    if (rates.empty() || rates.back() != hz) rates.push_back(hz);
  }
  return rates;
}

TEST(CpuGovernor, LeavesTheRateAloneWithinTheBudget) {
  CpuGovernor governor(0.01, 19);
  EXPECT_THAT(Rates(governor, 10'000, [](int) { return 0.009; }), testing::ElementsAre(19));
  EXPECT_EQ(governor.lowered(), 0U);
  EXPECT_NEAR(governor.used_ratio(), 0.009, 1e-6);
}

TEST(CpuGovernor, HalvesTheRateUntilAnAbsurdBudgetHasItsWill) {
  CpuGovernor governor(1e-6, 19);
  EXPECT_THAT(Rates(governor, 60, [](int) { return 0.002; }), testing::ElementsAre(9, 4, 2, 1));
  EXPECT_TRUE(governor.Step(1, 0.002).slow_files);
  EXPECT_EQ(governor.lowered(), 4U);
}

TEST(CpuGovernor, WaitsFiveSecondsBetweenHalvings) {
  CpuGovernor governor(1e-6, 19);
  std::vector<int> rates;
  for (int i = 0; i < 11; ++i) rates.push_back(governor.Step(1, 0.1).hz);
  EXPECT_THAT(rates, testing::ElementsAre(9, 9, 9, 9, 9, 4, 4, 4, 4, 4, 2));
}

TEST(CpuGovernor, PaysForABurstOfTenMinutesBudget) {
  CpuGovernor governor(0.01, 19);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(governor.Step(1, 0.5), (CpuPlan{19, false})) << i;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(governor.Step(1, 0.005), (CpuPlan{19, false})) << i;
}

TEST(CpuGovernor, GoesBackUpWhenThereIsRoomAndSettlesBelowTheBudget) {
  CpuGovernor governor(0.01, 19);
  // 0.1 % a Hz: 19 Hz cost twice the budget, 9 Hz fit, and their double would not.
  const auto costly = [](int hz) { return 0.001 * hz; };
  EXPECT_THAT(Rates(governor, 5'000, costly), testing::ElementsAre(19, 9));
  // The machine calms down.
  EXPECT_THAT(Rates(governor, 600, [](int hz) { return 0.0001 * hz; }),
              testing::ElementsAre(9, 19));
}

TEST(CpuGovernor, HasNothingToSayWithoutABudgetOrARate) {
  CpuGovernor unbounded(0, 19);
  EXPECT_EQ(unbounded.Step(1, 1), (CpuPlan{19, false}));
  CpuGovernor on_request(1e-6, 0);
  EXPECT_EQ(on_request.Step(1, 1), (CpuPlan{0, true}));
}

}  // namespace
}  // namespace hotpath
