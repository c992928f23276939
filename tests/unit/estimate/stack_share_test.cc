// Shares of stacks over windows of a program with phases.
#include "daemon/estimate/stack_share.h"

#include <gtest/gtest.h>

#include <random>

#include "daemon/estimate/student.h"

namespace hotpath {
namespace {

TEST(Student975, AgreesWithTables) {
  EXPECT_NEAR(Student975(4), 2.776, 0.005);
  EXPECT_NEAR(Student975(7), 2.365, 0.005);
  EXPECT_NEAR(Student975(39), 2.023, 0.005);
  EXPECT_NEAR(Student975(100'000), 1.960, 0.005);
}

TEST(StackShares, SumsByStackAndWindow) {
  StackShares shares;
  shares.Add(1, 2);
  shares.Add(1, 1);
  shares.Add(2, 1);
  EXPECT_EQ(shares.Sum(1), 0);  // The window is open.
  shares.CloseWindow();
  shares.Add(2, 4);
  shares.CloseWindow();
  EXPECT_EQ(shares.Sum(1), 3);
  EXPECT_EQ(shares.Sum(2), 5);
  EXPECT_EQ(shares.Sum(3), 0);
  EXPECT_EQ(shares.total(), 8);
  EXPECT_EQ(shares.windows(), 2U);
  EXPECT_DOUBLE_EQ(shares.Of(1).ratio, 3.0 / 8);
  EXPECT_EQ(shares.Of(1).lower, 0);  // Two windows say nothing about their spread.
  EXPECT_EQ(shares.Of(1).upper, 1);
}

TEST(StackShares, AConstantShareHasNoError) {
  StackShares shares;
  for (int k = 1; k <= 10; ++k) {
    shares.Add(1, 1.0 * k);
    shares.Add(2, 3.0 * k);
    shares.CloseWindow();
  }
  EXPECT_NEAR(shares.Of(1).lower, 0.25, 1e-6);
  EXPECT_NEAR(shares.Of(1).upper, 0.25, 1e-6);
  EXPECT_EQ(shares.Of(9).ratio, 0);
}

TEST(StackShares, NothingSeenIsNoShare) {
  StackShares shares;
  for (int k = 0; k < 20; ++k) shares.CloseWindow();
  EXPECT_EQ(shares.Of(1).ratio, 0);
  EXPECT_EQ(shares.Of(1).upper, 1);
}

// Each window falls on one of two phases; stack 1 has 80 % of the one and 10 % of the other. An
// interval from the number of hits would be five times too narrow.
TEST(StackShares, IntervalsComeFromWindowsNotFromHits) {
  std::mt19937_64 random(11);
  int covered = 0;
  int narrow_covered = 0;
  for (int profile = 0; profile < 200; ++profile) {
    StackShares shares;
    for (int k = 0; k < 60; ++k) {
      const bool first = random() % 2 == 0;
      for (int hit = 0; hit < 100; ++hit) {
        shares.Add(random() % 10 < (first ? 8 : 1) ? 1 : 2, 1);
      }
      shares.CloseWindow();
    }
    const Share share = shares.Of(1);
    covered += share.lower <= 0.45 && 0.45 <= share.upper;
    narrow_covered += std::abs(share.ratio - 0.45) <= 1.96 * std::sqrt(0.45 * 0.55 / 6000);
  }
  EXPECT_GE(covered, 180);
  EXPECT_LE(narrow_covered, 100);
}

}  // namespace
}  // namespace hotpath
