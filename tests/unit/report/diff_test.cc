// The statistics of a comparison.
#include "exporters/report/diff.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "profile_builder.h"

namespace hotpath::report {
namespace {

TEST(PoissonRatioP, IsTheExactBinomialTest) {
  EXPECT_NEAR(PoissonRatioP(40, 70, 0.5), 0.0056, 0.0003);  // The header's worked example.
  EXPECT_NEAR(PoissonRatioP(0, 5, 0.5), 0.0625, 1e-9);      // 2 * 0.5^5.
  EXPECT_EQ(PoissonRatioP(0, 0, 0.5), 1);
  EXPECT_NEAR(PoissonRatioP(10, 10, 0.5), 1, 1e-9);
}

TEST(Compare, TheWorkedExampleHasItsInterval) {
  const auto diff =
      Compare(ProfileBuilder().Add({"f"}, 40).Build(), ProfileBuilder().Add({"f"}, 70).Build(), {});
  ASSERT_TRUE(diff.has_value());
  const DiffRow& row = diff->rows.at(0);
  EXPECT_EQ(row.delta, 300e6);
  EXPECT_NEAR(row.interval_low, 300e6 - 1.96 * 10e6 * std::sqrt(110), 1e5);
  EXPECT_NEAR(row.interval_high, 300e6 + 1.96 * 10e6 * std::sqrt(110), 1e5);
  EXPECT_TRUE(row.significant);
}

TEST(Compare, ProfilesOfDifferentLengthAreBroughtToTheNewDuration) {
  ProfileBuilder half;
  half.Add({"f"}, 500);
  half.profile().duration_ns = 5'000'000'000;
  const auto diff = Compare(half.Build(), ProfileBuilder().Add({"f"}, 1000).Build(), {});
  ASSERT_TRUE(diff.has_value());
  EXPECT_EQ(diff->base_total, diff->new_total);
  EXPECT_EQ(diff->rows.at(0).delta, 0);
  EXPECT_FALSE(diff->rows.at(0).significant);
  EXPECT_NEAR(diff->rows.at(0).p, 1, 0.2);
}

TEST(Compare, NoiseAloneIsSeldomSignificant) {
  std::mt19937 random(7);  // Fixed: the same draws in every run.
  std::poisson_distribution<int64_t> events(30);
  ProfileBuilder before, after;
  for (int i = 0; i < 200; ++i) {
    before.Add({"f" + std::to_string(i)}, events(random));
    after.Add({"f" + std::to_string(i)}, events(random));
  }
  const auto diff = Compare(before.Build(), after.Build(), {});
  ASSERT_TRUE(diff.has_value());
  EXPECT_LE(std::ranges::count_if(diff->rows, &DiffRow::significant), 1);
  const auto covered = std::ranges::count_if(diff->rows, [](const DiffRow& row) {
    return row.interval_low <= 0 && row.interval_high >= 0;
  });
  EXPECT_GE(covered, 180);
}

TEST(Compare, DifferentUnitsAreRefused) {
  pprof::Profile heap = ProfileBuilder().Add({"f"}, 1).Build();
  heap.sample_types[1] = {"space", "bytes"};
  EXPECT_FALSE(Compare(heap, ProfileBuilder().Add({"f"}, 1).Build(), {}).has_value());
}

TEST(DiffJson, HasTheKeysOfTheContract) {
  const auto diff =
      Compare(ProfileBuilder().Add({"f"}, 1).Build(), ProfileBuilder().Add({"g"}, 2).Build(), {});
  const Json json = DiffJson(*diff);
  EXPECT_EQ(json["base_total"], 10'000'000);
  EXPECT_EQ(json["new_total"], 20'000'000);
  for (const char* key :
       {"function", "base", "new", "delta", "delta_interval95", "p", "significant"}) {
    EXPECT_TRUE(json["rows"][0].contains(key)) << key;
  }
}

}  // namespace
}  // namespace hotpath::report
