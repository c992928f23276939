// Windows sorted by d; each takes the mean of its neighbours, by prefix sums.
#include "daemon/estimate/call_times.h"

#include <algorithm>
#include <cmath>

#include "daemon/estimate/native_clock.h"
#include "daemon/estimate/student.h"

namespace hotpath {

namespace {

constexpr size_t kMinAgreeing = 4;

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

CallTime Pool(const Prefix& from, const Prefix& to, size_t windows, double unknown_ns) {
  const double n = to.n - from.n;
  CallTime time{.ns = (to.nd - from.nd) / n, .error_ns = unknown_ns};
  if (windows < kMinAgreeing) return time;
  const double squares = (to.nndd - from.nndd) - 2 * time.ns * (to.nnd - from.nnd) +
                         time.ns * time.ns * (to.nn - from.nn);
  const auto count = static_cast<double>(windows);
  time.error_ns =
      Student975(windows - 1) * std::sqrt(count / (count - 1) * std::max(0.0, squares)) / n;
  return time;
}

}  // namespace

std::vector<std::optional<CallTime>> PoolCallTimes(std::span<const ThreadWindow> windows,
                                                   WindowSums ThreadWindow::* part, double band_ns,
                                                   size_t min_pairs, double unknown_ns) {
  std::vector<std::optional<CallTime>> pooled(windows.size());
  const std::vector<OwnTime> times = OwnTimes(windows, part, min_pairs);
  std::vector<Prefix> prefix(times.size() + 1);
  for (size_t i = 0; i < times.size(); ++i) {
    const OwnTime& time = times[i];
    const double square = time.count * time.count;
    prefix[i + 1] = {.n = prefix[i].n + time.count,
                     .nd = prefix[i].nd + time.count * time.ns,
                     .nn = prefix[i].nn + square,
                     .nnd = prefix[i].nnd + square * time.ns,
                     .nndd = prefix[i].nndd + square * time.ns * time.ns};
  }
  size_t begin = 0;
  size_t end = 0;
  for (const OwnTime& time : times) {
    while (times[begin].ns < time.ns - band_ns) ++begin;
    while (end < times.size() && times[end].ns <= time.ns + band_ns) ++end;
    CallTime& pool =
        pooled[time.window].emplace(Pool(prefix[begin], prefix[end], end - begin, unknown_ns));
    pool.ns = std::max(0.0, pool.ns);
  }
  return pooled;
}

}  // namespace hotpath
