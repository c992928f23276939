// What one window of hits costs the daemon, and one result.
#include <benchmark/benchmark.h>

#include "daemon/estimate/rate_estimator.h"

namespace hotpath {
namespace {

// `threads` call as fast as they can be trapped: 1,000 calls a thread and millisecond.
ProbeWindow BusyWindow(uint32_t threads) {
  ProbeWindow window{.armed_ns = 1'000'000'000,
                     .disarmed_ns = 1'001'000'000,
                     .hit_cap_reached = false,
                     .running = {},
                     .hits = {}};
  for (uint32_t tid = 1; tid <= threads; ++tid) {
    window.running.push_back({tid});
    for (uint64_t ns = window.armed_ns; ns + 580 < window.disarmed_ns; ns += 1'080) {
      window.hits.push_back({.time_ns = ns, .tid = tid, .size_bytes = 64, .kind = HitKind::kFirst});
      window.hits.push_back(
          {.time_ns = ns + 500, .tid = tid, .size_bytes = 0, .kind = HitKind::kSecond});
    }
  }
  return window;
}

void Add(benchmark::State& state) {
  const ProbeWindow window = BusyWindow(static_cast<uint32_t>(state.range(0)));
  RateEstimator estimator(500);
  for (auto _ : state) benchmark::DoNotOptimize(estimator.Add(window));
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(window.hits.size()));
}
BENCHMARK(Add)->Arg(1)->Arg(8);

// Of as many windows as are remembered.
void ResultOfAll(benchmark::State& state) {
  const auto threads = static_cast<uint32_t>(state.range(0));
  const ProbeWindow window = BusyWindow(threads);
  RateEstimator estimator(500);
  std::vector<ThreadExposure> exposures;
  for (uint32_t tid = 1; tid <= threads; ++tid) {
    exposures.push_back({.tid = tid, .on_cpu_ns = 995'000'000'000});
  }
  for (size_t i = 0; i < RateEstimator::kMaxWindows; ++i) estimator.Add(window);
  for (auto _ : state) {
    benchmark::DoNotOptimize(estimator.Result(1'000'000'000'000, exposures));
  }
}
BENCHMARK(ResultOfAll)->Arg(1)->Arg(8)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hotpath
