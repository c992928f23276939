// Weights of hits, and the bounds on what is remembered.
#include <gtest/gtest.h>

#include "daemon/estimate/rate_estimator.h"
#include "simulated_target.h"

namespace hotpath {
namespace {

double Calls(const RateEstimator& estimator, const std::vector<ProbeWindow>& windows) {
  double calls = 0;
  for (uint64_t k = 0; k < windows.size(); ++k) {
    for (const Hit& hit : windows[k].hits) {
      if (hit.kind != HitKind::kFirst) continue;
      calls += estimator.WindowWeight(k, hit.tid, hit.time_ns - windows[k].armed_ns);
    }
  }
  return calls;
}

struct Program {
  const char* name;
  std::vector<Phase> phases;
};

class Weights : public testing::TestWithParam<Program> {};

TEST_P(Weights, SumToTheEstimate) {
  std::vector<SimulatedThread> threads{SimulatedThread(1, GetParam().phases, {}, 5),
                                       SimulatedThread(2, {{.ns = 1e7, .call_ns = 900}}, {}, 6)};
  const Profiling profiling{.windows = 100};
  const std::vector<ProbeWindow> windows = SimulateWindows(threads, profiling, 1);
  RateEstimator estimator(500);
  for (const ProbeWindow& window : windows) estimator.Add(window);
  const Estimate estimate =
      estimator.Result(static_cast<uint64_t>(profiling.wall_ns), Exposures(threads, profiling));
  ASSERT_NE(estimate.verdict, Verdict::kNone);
  const double calls = estimate.calls_per_s.value * profiling.wall_ns / 1e9;
  EXPECT_NEAR(Calls(estimator, windows), calls, 1e-6 * calls);
}

INSTANTIATE_TEST_SUITE_P(RateEstimator, Weights,
                         testing::Values(Program{"Steady", {{.ns = 1e7, .call_ns = 100}}},
                                         Program{"Slow", {{.ns = 1e7, .call_ns = 50'000}}},
                                         Program{"Bursts",
                                                 {{.ns = 2e6, .call_ns = 40}, {.ns = 8e6}}},
                                         Program{"Phases",
                                                 {{.ns = 1e6, .call_ns = 22, .by_clock = true},
                                                  {.ns = 1e6, .call_ns = 6000, .by_clock = true}}}),
                         [](const auto& info) { return info.param.name; });

// Dilation gives the slow thread a third of the hits; a twelfth of the calls is its own.
TEST(RateEstimator, WeightsGiveThreadsTheirShareOfCallsNotOfHits) {
  std::vector<SimulatedThread> threads{SimulatedThread(1, {{.ns = 1e7, .call_ns = 80}}, {}, 7),
                                       SimulatedThread(2, {{.ns = 1e7, .call_ns = 960}}, {}, 8)};
  const Profiling profiling;
  RateEstimator estimator(500);
  const std::vector<ProbeWindow> windows = SimulateWindows(threads, profiling, 1);
  for (const ProbeWindow& window : windows) estimator.Add(window);
  (void)estimator.Result(static_cast<uint64_t>(profiling.wall_ns), Exposures(threads, profiling));
  double slow_hits = 0;
  double hits = 0;
  double slow_calls = 0;
  for (uint64_t k = 0; k < windows.size(); ++k) {
    for (const Hit& hit : windows[k].hits) {
      if (hit.kind != HitKind::kFirst) continue;
      ++hits;
      slow_hits += hit.tid == 2;
      if (hit.tid == 2) slow_calls += estimator.WindowWeight(k, 2, 0);
    }
  }
  EXPECT_GT(slow_hits / hits, 0.3);
  EXPECT_NEAR(slow_calls / Calls(estimator, windows), 1.0 / 13, 0.015);
}

ProbeWindow OneCall(uint32_t tid) {
  return {.armed_ns = 1'000,
          .disarmed_ns = 101'000,
          .hit_cap_reached = false,
          .running = {{tid}},
          .hits = {{.time_ns = 50'000, .tid = tid, .size_bytes = 8, .kind = HitKind::kOnly}}};
}

TEST(RateEstimator, ForgetsTheOldestWindows) {
  RateEstimator estimator(500);
  for (uint64_t i = 0; i < RateEstimator::kMaxWindows + 10; ++i) {
    EXPECT_EQ(estimator.Add(OneCall(1)), i);
  }
  const Estimate estimate =
      estimator.Result(10'000'000'000, {{.tid = 1, .on_cpu_ns = 9'590'000'000}});
  EXPECT_EQ(estimate.windows, RateEstimator::kMaxWindows);
  EXPECT_EQ(estimate.verdict, Verdict::kRate);
  EXPECT_EQ(estimator.WindowWeight(9, 1, 0), 0);
  EXPECT_GT(estimator.WindowWeight(10, 1, 0), 0);
  EXPECT_EQ(estimator.WindowWeight(10, 2, 0), 0);
  EXPECT_GT(estimator.WindowWeight(RateEstimator::kMaxWindows + 9, 1, 0), 0);
  EXPECT_EQ(estimator.WindowWeight(RateEstimator::kMaxWindows + 10, 1, 0), 0);
}

TEST(RateEstimator, CountsThreadsPastItsBound) {
  RateEstimator estimator(500);
  ProbeWindow window = OneCall(1);
  for (uint32_t tid = 2; tid <= 300; ++tid) window.running.push_back({tid});
  for (int i = 0; i < 100; ++i) estimator.Add(window);
  EXPECT_EQ(estimator.threads_dropped(), 100 * (300 - RateEstimator::kMaxThreads));
  const Estimate estimate =
      estimator.Result(10'000'000'000, {{.tid = 1, .on_cpu_ns = 9'990'000'000}});
  EXPECT_EQ(estimate.windows, RateEstimator::kMaxSums / RateEstimator::kMaxThreads);
}

TEST(RateEstimator, SurvivesBrokenWindows) {
  RateEstimator estimator(500);
  estimator.Add({});
  ProbeWindow window = OneCall(1);
  std::swap(window.armed_ns, window.disarmed_ns);  // Ends before it begins.
  estimator.Add(window);
  window = OneCall(1);
  window.hits[0].time_ns = ~0ULL;  // A hit long after the end...
  window.hit_cap_reached = true;
  estimator.Add(window);
  window.hits[0].time_ns = 0;  // ...and one before the beginning.
  estimator.Add(window);
  window.hits.assign(20, {.time_ns = 60'000, .tid = 1, .size_bytes = ~0U, .kind = HitKind::kFirst});
  for (int i = 0; i < 20; ++i) estimator.Add(window);  // No time between hits.
  EXPECT_EQ(estimator.Result(0, {}).verdict, Verdict::kNone);
  EXPECT_EQ(estimator.Result(1'000'000'000, {}).verdict, Verdict::kNone);
  const Estimate estimate =
      estimator.Result(1'000'000'000, {{.tid = 1, .on_cpu_ns = 2'000'000'000}});
  EXPECT_GE(estimate.calls_per_s.value, 0);
  EXPECT_LE(estimate.calls_per_s.lower, estimate.calls_per_s.value);
}

}  // namespace
}  // namespace hotpath
