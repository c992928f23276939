// Draws as BPF makes them, and what the kept allocations stand for.
#include "daemon/estimate/byte_sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace hotpath {
namespace {

TEST(ByteSampling, RefusesIntervalsOutOfBounds) {
  EXPECT_EQ(ByteSampling::Every(0).error().code, ErrorCode::kInvalidArgument);
  EXPECT_FALSE(ByteSampling::Every((256ULL << 20) + 1).has_value());
  EXPECT_TRUE(ByteSampling::Every(1).has_value());
  EXPECT_TRUE(ByteSampling::Every(256ULL << 20).has_value());
}

TEST(ByteSampling, WeighsByTheChanceToBeKept) {
  const ByteSampling sampling = *ByteSampling::Every(512 << 10);
  EXPECT_NEAR(sampling.Probability(1 << 20), 1 - std::exp(-2), 1e-12);
  EXPECT_NEAR(sampling.Objects(1 << 20), 1.1565, 1e-4);
  EXPECT_NEAR(sampling.Objects(64), 8192.5, 0.01);
  EXPECT_NEAR(sampling.Bytes(64), 524'320, 1);
  EXPECT_NEAR(sampling.Objects(0), 524'288.5, 0.01);  // malloc(0) takes a block too...
  EXPECT_EQ(sampling.Bytes(0), 0);                    // ...of no bytes.
  EXPECT_EQ(sampling.Objects(~0ULL), 1);
}

TEST(ByteSampling, DistancesAreAnExponentialDistribution) {
  for (const uint64_t mean : {1024ULL, 512ULL << 10, 256ULL << 20}) {
    for (const size_t count : {256U, 1024U, 4096U}) {
      std::vector<uint32_t> distances = ByteSampling::Every(mean)->Distances(count);
      ASSERT_EQ(distances.size(), count);
      const double sum = std::accumulate(distances.begin(), distances.end(), 0.0);
      const auto t = static_cast<double>(mean);
      EXPECT_NEAR(sum / static_cast<double>(count), t, 0.001 * t);
      std::ranges::sort(distances);
      EXPECT_NEAR(distances[count / 2], t * std::log(2), 0.01 * t);
      EXPECT_NEAR(distances[count * 9 / 10], t * std::log(10), 0.05 * t);
      EXPECT_LE(distances.back(), t * (1 + std::log(static_cast<double>(count))) + 1);
    }
  }
  EXPECT_EQ(ByteSampling::Every(700)->Distances(1), std::vector<uint32_t>{700});
}

// Mixed sizes, from an eighth of T to twice T: neither objects nor bytes may be off, of any size.
TEST(ByteSampling, KeptAllocationsStandForAll) {
  constexpr int kDraws = 400'000;
  const ByteSampling sampling = *ByteSampling::Every(4096);
  const std::vector<uint32_t> distances = sampling.Distances(4096);
  std::mt19937_64 random(3);
  for (const uint64_t size : {512U, 4096U, 8192U}) {
    double objects = 0;
    double bytes = 0;
    int kept = 0;
    int64_t left = distances[random() % distances.size()];
    for (int i = 0; i < kDraws; ++i) {
      // Another size in between, so that distances do not lock to one.
      for (const uint64_t each : {size, uint64_t{48} + random() % 512}) {
        left -= static_cast<int64_t>(each);
        if (left > 0) continue;
        left = distances[random() % distances.size()];
        if (each != size) continue;
        ++kept;
        objects += sampling.Objects(size);
        bytes += sampling.Bytes(size);
      }
    }
    // Four standard deviations.
    const double error = 4 * objects / std::sqrt(kept);
    EXPECT_NEAR(objects, kDraws, error) << size;
    EXPECT_NEAR(bytes, kDraws * static_cast<double>(size), error * static_cast<double>(size));
    EXPECT_GT(std::abs(kept - kDraws), error) << "unweighted counts would do as well";
  }
}

}  // namespace
}  // namespace hotpath
