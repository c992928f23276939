// Rates of simulated processes whose true rate is known.
#include "daemon/estimate/rate_estimator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <string>

#include "simulated_target.h"

namespace hotpath {
namespace {

constexpr double kCalibrated_ns = 520;  // 4 % more than the simulated host's trap.
constexpr int kProfiles = 20;

using Threads = std::vector<SimulatedThread>;

SimulatedThread Steady(double call_ns) {
  return SimulatedThread(7, {{.ns = 1e7, .call_ns = call_ns}}, {}, 42);
}

double CallsPerSecond(const Threads& threads) {
  double calls = 0;
  for (const SimulatedThread& thread : threads) calls += thread.CallsPerSecond();
  return calls;
}

double BytesPerSecond(const Threads& threads) {
  double bytes = 0;
  for (const SimulatedThread& thread : threads) bytes += thread.BytesPerSecond();
  return bytes;
}

bool Holds(const Rate& rate, double truth) {
  return rate.lower <= truth && (!rate.upper || truth <= *rate.upper);
}

// What came of kProfiles profiles of one process.
struct Outcome {
  int covered = 0;        // The truth lies in the interval; of "at least", above its lower end.
  int bytes_covered = 0;  //
  int naive_covered = 0;  // The interval holds hits by window time, which ignores dilation.
  int rates = 0;          // Verdicts...
  int at_least = 0;
  int none = 0;
  std::vector<double> errors;  // Of the value, sorted.
  std::vector<double> widths;  // upper / lower, sorted; of verdict kRate.
  double MedianError() const { return errors[errors.size() / 2]; }
  double MedianWidth() const { return widths[widths.size() / 2]; }
};

Outcome Profile(Threads threads, const Profiling& profiling) {
  Outcome outcome;
  const double truth = CallsPerSecond(threads);
  for (int i = 0; i < kProfiles; ++i) {
    RateEstimator estimator(kCalibrated_ns);
    for (const ProbeWindow& window : SimulateWindows(threads, profiling, 1000 + i)) {
      estimator.Add(window);
    }
    const Estimate estimate =
        estimator.Result(static_cast<uint64_t>(profiling.wall_ns), Exposures(threads, profiling));
    const Rate& rate = estimate.calls_per_s;
    outcome.rates += estimate.verdict == Verdict::kRate;
    outcome.at_least += estimate.verdict == Verdict::kAtLeast;
    outcome.none += estimate.verdict == Verdict::kNone;
    outcome.covered += Holds(rate, truth);
    outcome.bytes_covered += Holds(estimate.bytes_per_s, BytesPerSecond(threads));
    outcome.naive_covered += Holds(
        rate, static_cast<double>(estimate.hits) * 1e9 / static_cast<double>(estimate.armed_ns));
    outcome.errors.push_back(rate.value / truth - 1);
    if (estimate.verdict == Verdict::kRate) outcome.widths.push_back(*rate.upper / rate.lower);
    EXPECT_EQ(rate.upper.has_value(), estimate.verdict == Verdict::kRate);
    EXPECT_EQ(estimate.reason.empty(), estimate.verdict == Verdict::kRate);
  }
  std::ranges::sort(outcome.errors);
  std::ranges::sort(outcome.widths);
  return outcome;
}

std::string Text(const Outcome& outcome) {
  return "covered " + std::to_string(outcome.covered) + ", rates " + std::to_string(outcome.rates) +
         ", at least " + std::to_string(outcome.at_least) + ", none " +
         std::to_string(outcome.none) + ", errors " + std::to_string(outcome.errors.front()) + " " +
         std::to_string(outcome.MedianError()) + " " + std::to_string(outcome.errors.back());
}

struct Solved {
  std::string name;
  Threads threads;
  Profiling profiling;
  double median_error;  // At most.
  double width;         // Of the interval, upper / lower, in the median profile.
  friend void PrintTo(const Solved& solved, std::ostream* out) { *out << solved.name; }
};

class SolvedPrograms : public testing::TestWithParam<Solved> {};

// 18 of 20 is the stated 95 % within what 20 profiles can tell. A few wide ones hold the naive
// rate.
TEST_P(SolvedPrograms, IntervalsHoldTheTruthAndNotTheNaiveRate) {
  const Outcome outcome = Profile(GetParam().threads, GetParam().profiling);
  SCOPED_TRACE(Text(outcome));
  EXPECT_GE(outcome.covered, 18);
  EXPECT_GE(outcome.bytes_covered, 18);
  EXPECT_GE(outcome.rates, 18);
  EXPECT_LE(outcome.naive_covered, outcome.none + 2);
  EXPECT_LE(std::abs(outcome.MedianError()), GetParam().median_error);
  EXPECT_LE(outcome.MedianWidth(), GetParam().width);
}

const Host kBothCpusTrap{.trap_ns = 577, .call_bias_ns = 10};

INSTANTIATE_TEST_SUITE_P(
    RateEstimator, SolvedPrograms,
    testing::Values(
        Solved{"Steady40ns", {Steady(40)}, {}, 0.10, 2.5},
        Solved{"Steady80ns", {Steady(80)}, {}, 0.05, 1.6},
        Solved{"Steady80nsHalfWindows", {Steady(80)}, {.window_ns = 5e5}, 0.05, 1.6},
        Solved{"Steady340ns", {Steady(340)}, {}, 0.02, 1.2},
        Solved{"Steady1us", {Steady(1000)}, {}, 0.02, 1.15},
        Solved{"Steady7us", {Steady(6700)}, {}, 0.02, 1.25},
        Solved{"Steady7usOneProbe", {Steady(6700)}, {.one_probe = true}, 0.02, 1.25},
        Solved{"Bursts",
               {SimulatedThread(7, {{.ns = 2e6, .call_ns = 37}, {.ns = 18e6}}, {}, 43)},
               {.windows = 160},
               0.25,
               6},
        Solved{"SleepsBetweenBursts",
               {SimulatedThread(7, {{.ns = 2e6, .call_ns = 37}, {.ns = 18e6, .asleep = true}}, {},
                                44)},
               {.windows = 320, .window_ns = 5e5},
               0.15,
               3},
        Solved{"RequestsWithPauses",
               {SimulatedThread(7,
                                {{.ns = 4e4, .call_ns = 173},
                                 {.ns = 6e3},
                                 {.ns = 6e3, .call_ns = 150},
                                 {.ns = 7e3}},
                                {}, 47)},
               {},
               0.05,
               1.8},
        Solved{"TwoRates",
               {SimulatedThread(7, {{.ns = 3e6, .call_ns = 100}, {.ns = 7e6, .call_ns = 1600}}, {},
                                48)},
               {.windows = 160},
               0.10,
               2},
        Solved{"TwoThreads",
               {SimulatedThread(7, {{.ns = 1e7, .call_ns = 313}}, kBothCpusTrap, 50),
                SimulatedThread(8, {{.ns = 1e7, .call_ns = 6250}}, kBothCpusTrap, 51)},
               {},
               0.05,
               1.5},
        Solved{"TwoFastThreads",
               {SimulatedThread(7, {{.ns = 1e7, .call_ns = 80}}, kBothCpusTrap, 52),
                SimulatedThread(8, {{.ns = 1e7, .call_ns = 90}}, kBothCpusTrap, 53)},
               {},
               0.15,
               2.5}),
    [](const auto& info) { return info.param.name; });

TEST(RateEstimator, CallsFasterThanTheErrorOfATrapHaveNoUpperEnd) {
  const Outcome outcome = Profile({Steady(8)}, {});
  EXPECT_EQ(outcome.at_least, kProfiles);
  EXPECT_GE(outcome.covered, 18);
  EXPECT_EQ(outcome.naive_covered, 0);
}

TEST(RateEstimator, OneProbeIsNotEnoughForAFastThread) {
  const Outcome outcome = Profile({Steady(80)}, {.one_probe = true});
  EXPECT_EQ(outcome.at_least, kProfiles);
  EXPECT_EQ(outcome.covered, kProfiles);
  EXPECT_EQ(outcome.naive_covered, 0);
}

// 1 ms fast, 1 ms slow, by the clock: only the windows' starts are short enough, and the interval
// is honest rather than narrow.
TEST(RateEstimator, PhasesShorterThanTheirDilatedWindowsAreCovered) {
  const Outcome outcome = Profile({SimulatedThread(7,
                                                   {{.ns = 1e6, .call_ns = 22, .by_clock = true},
                                                    {.ns = 1e6, .call_ns = 6000, .by_clock = true}},
                                                   {}, 46)},
                                  {.windows = 160});
  SCOPED_TRACE(Text(outcome));
  EXPECT_GE(outcome.covered, 18);
  EXPECT_EQ(outcome.naive_covered, 0);
  EXPECT_LE(std::abs(outcome.MedianError()), 0.5);
}

TEST(RateEstimator, SixtyShortLivedThreadsAreEstimatedTogether) {
  Threads threads;
  for (uint32_t i = 0; i < 60; ++i) {
    threads.emplace_back(
        i + 1,
        std::vector<Phase>{{.ns = 1e6, .call_ns = 80 + 20.0 * i}, {.ns = 19e6, .asleep = true}},
        kBothCpusTrap, 60 + i);
  }
  const Outcome outcome = Profile(threads, {});
  SCOPED_TRACE(Text(outcome));
  EXPECT_GE(outcome.covered, 18);
  EXPECT_GE(outcome.rates, 18);
  EXPECT_EQ(outcome.naive_covered, 0);
}

TEST(RateEstimator, WindowsThatMissASleepersBurstsGiveNoEstimate) {
  const SimulatedThread sleeper(7, {{.ns = 2e6, .call_ns = 37}, {.ns = 18e6, .asleep = true}}, {},
                                45);
  const Outcome outcome =
      Profile({sleeper}, {.windows = 320, .window_ns = 5e5, .armed_asleep = 0.95});
  EXPECT_EQ(outcome.none, kProfiles) << Text(outcome);
}

TEST(RateEstimator, AThreadThatWindowsMissLeavesTheOthersAsLowerEnd) {
  const SimulatedThread sleeper(8, {{.ns = 2e6, .call_ns = 37}, {.ns = 6e6, .asleep = true}}, {},
                                45);
  Threads threads{Steady(340), sleeper};
  const Profiling profiling{.windows = 80, .armed_asleep = 0};
  RateEstimator estimator(kCalibrated_ns);
  for (ProbeWindow& window : SimulateWindows(threads, profiling, 1)) {
    std::erase_if(window.running, [](const RunningThread& thread) { return thread.tid == 8; });
    std::erase_if(window.hits, [](const Hit& hit) { return hit.tid == 8; });
    estimator.Add(window);
  }
  const Estimate estimate =
      estimator.Result(static_cast<uint64_t>(profiling.wall_ns), Exposures(threads, profiling));
  EXPECT_EQ(estimate.verdict, Verdict::kAtLeast);
  EXPECT_THAT(std::string(estimate.reason), testing::HasSubstr("as often as they run"));
  EXPECT_GT(estimate.calls_per_s.lower, 0.8 * Steady(340).CallsPerSecond());
  EXPECT_LT(estimate.calls_per_s.lower, 1.0 * Steady(340).CallsPerSecond());
}

TEST(RateEstimator, AFewMissedWindowsWidenTheInterval) {
  Threads threads{Steady(340)};
  const Profiling profiling{.windows = 80};
  RateEstimator whole(kCalibrated_ns);
  RateEstimator missed(kCalibrated_ns);
  int number = 0;
  for (ProbeWindow& window : SimulateWindows(threads, profiling, 1)) {
    whole.Add(window);
    if (++number % 8 == 0) {  // 10 of 80; one is chance.
      window.running.clear();
      window.hits.clear();
    }
    missed.Add(window);
  }
  const auto wall_ns = static_cast<uint64_t>(profiling.wall_ns);
  const Estimate all = whole.Result(wall_ns, Exposures(threads, profiling));
  const Estimate some = missed.Result(wall_ns, Exposures(threads, profiling));
  ASSERT_EQ(all.verdict, Verdict::kRate) << all.reason;
  ASSERT_EQ(some.verdict, Verdict::kRate) << some.reason;
  EXPECT_NEAR(some.calls_per_s.value / all.calls_per_s.value, 1, 0.02);
  EXPECT_LT(some.calls_per_s.lower, all.calls_per_s.lower * 0.95);
  EXPECT_GT(*some.calls_per_s.upper, *all.calls_per_s.upper * 1.1);
}

TEST(RateEstimator, FewerThanEightWindowsGiveNoEstimate) {
  EXPECT_EQ(Profile({Steady(340)}, {.windows = 7}).none, kProfiles);
  EXPECT_EQ(Profile({Steady(340)}, {.windows = 16}).rates, kProfiles);
}

TEST(RateEstimator, SaysWhatTheProfileCost) {
  Threads threads{Steady(500)};
  const Profiling profiling{};
  RateEstimator estimator(kCalibrated_ns);
  for (const ProbeWindow& window : SimulateWindows(threads, profiling, 1)) estimator.Add(window);
  const Estimate estimate =
      estimator.Result(static_cast<uint64_t>(profiling.wall_ns), Exposures(threads, profiling));
  EXPECT_EQ(estimate.windows, 40U);
  EXPECT_EQ(estimate.armed_ns, 40'000'000U);
  EXPECT_NEAR(estimate.duty_ratio, 0.002, 1e-9);
  EXPECT_NEAR(estimate.trap_ns, 500, 10);
  // Two traps of 500 ns on 500 ns, some interrupts, and the stack walks.
  EXPECT_NEAR(estimate.dilation_ratio, 0.68, 0.03);
  EXPECT_NEAR(static_cast<double>(estimate.hits), 40e6 / 1615, 2500);
}

}  // namespace
}  // namespace hotpath
