// Windows sorted by d; each takes the mean of its neighbours, by prefix sums.
#include "daemon/estimate/call_times.h"

#include <algorithm>
#include <cmath>

#include "daemon/estimate/native_clock.h"
#include "daemon/estimate/student.h"

namespace hotpath {

namespace {

constexpr size_t kMinAgreeing = 4;
constexpr double kUnknownError = 0.05;  // Of c.

struct OwnTime {
  double ns;     // d by the window alone.
  double count;  // Close calls behind it.
  size_t window;
};

// Of n, n d, n^2, n^2 d and n^2 d^2 over the windows up to one.
struct Prefix {
  double n = 0;
  double nd = 0;
  double nn = 0;
  double nnd = 0;
  double nndd = 0;
  double gaps_ns = 0;
  double long_ns = 0;
  double interrupts = 0;
};

std::vector<OwnTime> OwnTimes(std::span<const ThreadWindow> windows,
                              WindowSums ThreadWindow::* part, size_t min_pairs) {
  std::vector<OwnTime> times;
  for (size_t k = 0; k < windows.size(); ++k) {
    const WindowSums& sums = windows[k].*part;
    if (sums.close_call.count < min_pairs || sums.trap.count < min_pairs) continue;
    times.push_back({.ns = MeanGap(sums.close_call) - MeanGap(sums.trap) + kBetweenProbes_ns,
                     .count = static_cast<double>(sums.close_call.count),
                     .window = k});
  }
  std::ranges::sort(times, {}, &OwnTime::ns);
  return times;
}

CallTime Pool(const Prefix& from, const Prefix& to, size_t windows, const TrapCost& trap) {
  const double n = to.n - from.n;
  CallTime time{.ns = (to.nd - from.nd) / n,
                .error_ns = kUnknownError * trap.ns,
                .work = MeasureWork(to.gaps_ns - from.gaps_ns, to.long_ns - from.long_ns,
                                    to.interrupts - from.interrupts, trap.interrupt_ratio)};
  if (windows < kMinAgreeing) return time;
  const double squares = (to.nndd - from.nndd) - 2 * time.ns * (to.nnd - from.nnd) +
                         time.ns * time.ns * (to.nn - from.nn);
  const auto count = static_cast<double>(windows);
  time.error_ns =
      Student975(windows - 1) * std::sqrt(count / (count - 1) * std::max(0.0, squares)) / n;
  return time;
}

}  // namespace

WorkRatio MeasureWork(double gaps_ns, double long_ns, double interrupts, double interrupt_ratio) {
  if (long_ns <= 0) return {};
  const double interrupted = interrupt_ratio * gaps_ns / long_ns;
  return {.ratio = std::clamp(1 - interrupted, 0.0, 1.0),
          .error = std::min(1.0, 2 * interrupted / std::sqrt(std::max(interrupts, 1.0)))};
}

std::vector<std::optional<CallTime>> PoolCallTimes(std::span<const ThreadWindow> windows,
                                                   WindowSums ThreadWindow::* part,
                                                   const TrapCost& trap, size_t min_pairs) {
  const double band_ns = kCallBand * trap.ns;
  std::vector<std::optional<CallTime>> pooled(windows.size());
  const std::vector<OwnTime> times = OwnTimes(windows, part, min_pairs);
  std::vector<Prefix> prefix(times.size() + 1);
  for (size_t i = 0; i < times.size(); ++i) {
    const OwnTime& time = times[i];
    const double square = time.count * time.count;
    const WindowSums& sums = windows[time.window].*part;
    prefix[i + 1] = {.n = prefix[i].n + time.count,
                     .nd = prefix[i].nd + time.count * time.ns,
                     .nn = prefix[i].nn + square,
                     .nnd = prefix[i].nnd + square * time.ns,
                     .nndd = prefix[i].nndd + square * time.ns * time.ns,
                     .gaps_ns = prefix[i].gaps_ns + GapTime(sums),
                     .long_ns = prefix[i].long_ns + LongTime(sums, trap.ns),
                     .interrupts = prefix[i].interrupts + sums.long_trap.count};
  }
  size_t begin = 0;
  size_t end = 0;
  for (const OwnTime& time : times) {
    while (times[begin].ns < time.ns - band_ns) ++begin;
    while (end < times.size() && times[end].ns <= time.ns + band_ns) ++end;
    CallTime& pool =
        pooled[time.window].emplace(Pool(prefix[begin], prefix[end], end - begin, trap));
    pool.ns = std::max(0.0, pool.ns);
  }
  return pooled;
}

}  // namespace hotpath
