// Calls by native time: all windows as one, by the time of a call, or window by window.
#include "daemon/estimate/estimators.h"

#include <algorithm>
#include <cmath>

#include "daemon/estimate/student.h"

namespace hotpath {

namespace {

constexpr double kFastestCall_ns = 5;  // The fastest malloc and anything.
constexpr double kFloored = 0.05;      // Share of the upper end that rests on kFastestCall_ns.
constexpr double kBoundFactor = 1.25;  // A bound so close to the estimate is a good upper end.

// The bytes' errors of the trap model are those of the calls.
void ScaleModelErrors(Branch& branch) {
  const double factor = branch.calls.value > 0 ? branch.bytes.value / branch.calls.value : 0;
  branch.bytes.below = branch.calls.below * factor;
  branch.bytes.above = branch.calls.above * factor;
  branch.bytes.unbounded = branch.calls.unbounded;
}

// Half the 95 % interval of sum of top / sum of bottom, windows being what was drawn.
template <typename Top, typename Bottom>
double RatioSpread(std::span<const ThreadWindow> windows, const Top& top, const Bottom& bottom) {
  double tops = 0;
  double bottoms = 0;
  for (const ThreadWindow& window : windows) {
    tops += top(window);
    bottoms += bottom(window);
  }
  const auto n = static_cast<double>(windows.size());
  if (bottoms <= 0) return 0;
  if (n < 2) return tops / bottoms;
  double squares = 0;
  for (const ThreadWindow& window : windows) {
    const double residual = top(window) - tops / bottoms * bottom(window);
    squares += residual * residual;
  }
  return Student975(windows.size() - 1) * std::sqrt(n / (n - 1) * squares) / bottoms;
}

// Mean of a column, with half its 95 % interval and the margin of the method.
struct Column {
  double sum = 0;
  double squares = 0;
  void Add(double x) {
    sum += x;
    squares += x * x;
  }
  double Spread(uint64_t count) const {
    const auto n = static_cast<double>(count);
    const double mean = sum / n;
    if (count < 2) return mean;
    const double variance = std::max(0.0, squares / n - mean * mean) / (n - 1);
    return std::hypot(Student975(count - 1) * std::sqrt(variance), kMargin * mean);
  }
};

}  // namespace

Branch Plain(std::span<const ThreadWindow> windows, const WindowSums& all,
             const NativeClock& clock) {
  const auto native = [&](const ThreadWindow& window) {
    return std::max(
        0.0, static_cast<double>(window.whole.on_cpu_ns) - window.whole.traps * clock.trap_ns());
  };
  const auto calls = [](const ThreadWindow& window) { return double{1} * window.whole.calls; };
  const auto bytes = [](const ThreadWindow& window) {
    return static_cast<double>(window.whole.size_bytes);
  };
  double total_ns = 0;
  for (const ThreadWindow& window : windows) total_ns += native(window);
  Branch branch;
  branch.weights.assign(windows.size(), 0);
  if (total_ns <= 0) return branch;
  branch.calls.value = all.calls / total_ns;
  branch.bytes.value = static_cast<double>(all.size_bytes) / total_ns;
  branch.calls.below = branch.calls.above =
      branch.calls.value * all.traps * clock.trap_error_ns() / total_ns;
  ScaleModelErrors(branch);
  branch.calls.sampling =
      std::hypot(RatioSpread(windows, calls, native), kMargin * branch.calls.value);
  branch.bytes.sampling =
      std::hypot(RatioSpread(windows, bytes, native), kMargin * branch.bytes.value);
  branch.weights.assign(windows.size(), 1 / total_ns);
  return branch;
}

Branch Steady(std::span<const ThreadWindow> windows, const WindowSums& all,
              const NativeClock& clock) {
  const auto rate = [&](double call_ns) {
    return 1 / (std::max(call_ns, kFastestCall_ns) * (1 + clock.interrupt_ratio()));
  };
  Branch branch;
  branch.steady = true;
  branch.calls.value = rate(clock.call()->ns);
  branch.calls.below = branch.calls.value - rate(clock.call()->ns + clock.call()->error_ns);
  const double least_ns = clock.call()->ns - clock.call()->error_ns;
  branch.calls.above = rate(least_ns) - branch.calls.value;
  branch.calls.unbounded = least_ns <= kFastestCall_ns;
  const double mean_size = static_cast<double>(all.size_bytes) / all.calls;
  branch.bytes.value = branch.calls.value * mean_size;
  ScaleModelErrors(branch);
  branch.bytes.sampling =
      branch.calls.value *
      RatioSpread(
          windows,
          [](const ThreadWindow& window) { return static_cast<double>(window.whole.size_bytes); },
          [](const ThreadWindow& window) { return double{1} * window.whole.calls; });
  branch.weights.assign(windows.size(), branch.calls.value / all.calls);
  return branch;
}

Branch MeanOfWindows(std::span<const ThreadWindow> windows, WindowSums ThreadWindow::* part,
                     const NativeClock& clock) {
  Branch branch;
  branch.weights.assign(windows.size(), 0);
  Column calls;
  Column bytes;
  double low = 0;
  double high = 0;
  double floored = 0;  // Of `high`: windows whose calls may be as fast as calls can be.
  double highest = 0;
  uint64_t count = 0;
  for (size_t k = 0; k < windows.size(); ++k) {
    const WindowSums& sums = windows[k].*part;
    if (!windows[k].running || sums.on_cpu_ns == 0) continue;
    ++count;
    if (sums.calls == 0) continue;
    const double floor_ns = kFastestCall_ns * sums.calls;
    const double native_ns = std::max(clock.Native(k, 0), floor_ns);
    calls.Add(sums.calls / native_ns);
    bytes.Add(static_cast<double>(sums.size_bytes) / native_ns);
    low += sums.calls / std::max(clock.Native(k, 1), floor_ns);
    const double least_ns = clock.Native(k, -1);
    high += sums.calls / std::max(least_ns, floor_ns);
    floored += least_ns <= floor_ns ? sums.calls / floor_ns : 0;
    highest += sums.calls / std::max(clock.Least(k), 1.0);
    branch.weights[k] = 1 / native_ns;
  }
  if (count == 0) return branch;
  const auto n = static_cast<double>(count);
  for (double& weight : branch.weights) weight /= n;
  branch.calls.value = calls.sum / n;
  branch.calls.below = std::max(0.0, branch.calls.value - low / n);
  branch.calls.above = std::max(0.0, high / n - branch.calls.value);
  // There is no end above, unless close calls hardly matter whatever they take.
  branch.calls.unbounded = floored > kFloored * high && highest > kBoundFactor * calls.sum;
  branch.bytes.value = bytes.sum / n;
  ScaleModelErrors(branch);
  branch.calls.sampling = calls.Spread(count);
  branch.bytes.sampling = bytes.Spread(count);
  return branch;
}

}  // namespace hotpath
