// What is given up, in which order, and when it comes back.
#include "daemon/govern/memory_governor.h"

#include <gtest/gtest.h>

namespace hotpath {
namespace {

using Level = MemoryGovernor::Level;

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kLimit = 64 * kMiB;

MemoryUse Use(uint64_t resident_mib, uint64_t table_mib) {
  return {.resident_bytes = resident_mib * kMiB,
          .map_bytes = 2 * kMiB,
          .table_bytes = table_mib * kMiB};
}

TEST(MemoryGovernor, GivesTablesSixtyPercentWhileThereIsRoom) {
  MemoryGovernor governor(kLimit, 0);
  const MemoryPlan plan = governor.Step(Use(20, 30));
  EXPECT_FALSE(plan.drop_caches);
  EXPECT_FALSE(plan.refuse_captures);
  EXPECT_EQ(plan.table_cap_bytes, kLimit / 10 * 6);
}

TEST(MemoryGovernor, DropsCachesThenTablesThenCaptures) {
  MemoryGovernor governor(kLimit, 0);
  MemoryPlan plan = governor.Step(Use(40, 30));  // 72 MiB
  EXPECT_TRUE(plan.drop_caches);
  EXPECT_EQ(plan.table_cap_bytes, kLimit / 10 * 6);
  EXPECT_FALSE(plan.refuse_captures);
  plan = governor.Step(Use(40, 30));
  // 8 MiB too much, and 2 MiB of air.
  EXPECT_EQ(plan.table_cap_bytes, 20 * kMiB);
  EXPECT_FALSE(plan.refuse_captures);
  plan = governor.Step(Use(80, 10));
  EXPECT_EQ(plan.table_cap_bytes, 0U);
  EXPECT_TRUE(plan.refuse_captures);
  EXPECT_EQ(governor.level(), Level::kCaptures);
  EXPECT_EQ(governor.caches_dropped(), 3U);
  EXPECT_EQ(governor.tables_cut(), 2U);
}

TEST(MemoryGovernor, StopsWhereACheaperStepWasEnough) {
  MemoryGovernor governor(kLimit, 0);
  (void)governor.Step(Use(40, 30));
  for (int i = 0; i < 100; ++i) {
    const MemoryPlan plan = governor.Step(Use(30, 30));  // 62 MiB: under the limit, not calm.
    EXPECT_FALSE(plan.drop_caches);
    EXPECT_FALSE(plan.refuse_captures);
  }
  EXPECT_EQ(governor.level(), Level::kCaches);
}

TEST(MemoryGovernor, TakesItsStepsBackOneAfterTenCalmSeconds) {
  MemoryGovernor governor(kLimit, 0);
  for (int i = 0; i < 3; ++i) (void)governor.Step(Use(80, 10));
  ASSERT_EQ(governor.level(), Level::kCaptures);
  for (int i = 0; i < MemoryGovernor::kCalmSteps - 1; ++i) {
    EXPECT_TRUE(governor.Step(Use(20, 0)).refuse_captures);
  }
  EXPECT_FALSE(governor.Step(Use(20, 0)).refuse_captures);
  EXPECT_EQ(governor.Step(Use(20, 0)).table_cap_bytes, 0U);
  for (int i = 0; i < MemoryGovernor::kCalmSteps; ++i) (void)governor.Step(Use(20, 0));
  EXPECT_EQ(governor.Step(Use(20, 0)).table_cap_bytes, kLimit / 10 * 6);
}

TEST(MemoryGovernor, HasNoLimitWhereThereIsNone) {
  MemoryGovernor governor(0, 24 * kMiB);
  const MemoryPlan plan = governor.Step(Use(4'000, 20));
  EXPECT_FALSE(plan.drop_caches);
  EXPECT_FALSE(plan.refuse_captures);
  EXPECT_EQ(plan.table_cap_bytes, 24 * kMiB);
}

}  // namespace
}  // namespace hotpath
