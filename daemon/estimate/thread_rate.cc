// One thread: which of the estimators holds for it, and what it says.
#include "daemon/estimate/thread_rate.h"

#include <algorithm>
#include <cmath>

#include "daemon/estimate/native_clock.h"
#include "daemon/estimate/student.h"

namespace hotpath {

namespace {

constexpr double kMargin = 0.02;            // Of c, d and r: the measured bias of the method...
constexpr double kSharedMargin = 0.04;      // ...and with two threads trapping at once.
constexpr double kSharedWindows = 0.1;      // Share of windows from which that counts.
constexpr double kFastestCall_ns = 5;       // The fastest malloc and anything.
constexpr double kTailRatio = 0.03;         // Time outside short gaps that steady threads have.
constexpr double kSmallTail = 1.0 / 3;      // Of native time: both branches may be true.
constexpr double kLowDilation = 0.05;       // Share of time in traps: no need to undo it.
constexpr double kLowDilationAtHits = 0.1;  // The same, as the mean hit sees it.
constexpr double kFloored = 0.05;           // Share of the upper end that rests on kFastestCall_ns.
constexpr double kBoundFactor = 1.25;       // A bound so close to the estimate is a good upper end.
constexpr double kContradiction = 1.2;      // Between windows and their starts; less is chance.
constexpr uint64_t kMinWindows = 8;

struct Branch {
  ErrorParts calls;
  ErrorParts bytes;
  std::vector<double> weights;
};

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

// Calls by native time, all windows as one: where traps take next to nothing.
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

// All of the thread's time is short calls: 1 / (d (1 + eps)).
Branch Steady(std::span<const ThreadWindow> windows, const WindowSums& all,
              const NativeClock& clock) {
  const auto rate = [&](double call_ns) {
    return 1 / (std::max(call_ns, kFastestCall_ns) * (1 + clock.interrupt_ratio()));
  };
  Branch branch;
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

// The mean over windows of calls by native time: for threads whose rate changes. Only windows that
// found the thread on CPU are drawn in proportion to its time.
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

// Traps take little time, and not because few windows saw nearly all calls.
bool IsLowDilation(std::span<const ThreadWindow> windows, const WindowSums& all, double trap_ns) {
  double at_hits = 0;
  for (const ThreadWindow& window : windows) {
    const WindowSums& sums = window.whole;
    if (sums.on_cpu_ns == 0) continue;
    at_hits += sums.calls * sums.traps * trap_ns / static_cast<double>(sums.on_cpu_ns);
  }
  return all.traps * trap_ns < kLowDilation * static_cast<double>(all.on_cpu_ns) &&
         at_hits <= kLowDilationAtHits * all.calls;
}

// Some window in which the thread ran for a while and made no call.
bool HasSilence(std::span<const ThreadWindow> windows, const NativeClock& clock) {
  const double silence_ns = 10 * clock.trap_ns() + 2 * clock.call()->ns;
  return std::ranges::any_of(windows, [&](const ThreadWindow& window) {
    return window.whole.calls == 0 && static_cast<double>(window.whole.on_cpu_ns) > silence_ns;
  });
}

void Span(ErrorParts& parts, const ErrorParts& other) {
  const double low = std::min(parts.value - parts.below, other.value - other.below);
  const double high = std::max(parts.value + parts.above, other.value + other.above);
  parts.below = std::max(0.0, parts.value - low);
  parts.above = high - parts.value;
  parts.unbounded = parts.unbounded || other.unbounded;
}

double NativeOf(const NativeClock& clock, size_t windows) {
  double native_ns = 0;
  for (size_t k = 0; k < windows; ++k) native_ns += clock.Native(k, 0);
  return native_ns;
}

// Section 3 step 4, and II.5 item 2. Steady: time outside short calls is what interrupts take of
// it, within half the error of d. Where it is more, but not most, the interval holds both answers.
Branch Whole(std::span<const ThreadWindow> windows, const WindowSums& all, const NativeClock& clock,
             bool mixed) {
  Branch mean = MeanOfWindows(windows, &ThreadWindow::whole, clock);
  if (mixed || !clock.call() || !clock.uniform() || HasSilence(windows, clock)) return mean;
  const GapSum calls = all.close_call + all.call;
  const auto gaps_ns = static_cast<double>(calls.ns + all.long_call.ns);
  const auto known_ns =
      static_cast<double>(all.trap.ns + all.long_trap.ns + calls.ns + all.walked.ns);
  const double interrupts_ns = clock.interrupt_ratio() * gaps_ns;
  const double noise_ns = 2 * interrupts_ns / std::sqrt(std::max<double>(all.long_trap.count, 1));
  const double slack_ns = std::min(kTailRatio * static_cast<double>(all.on_cpu_ns),
                                   clock.call()->error_ns * calls.count / 2);
  const double tail_ns = static_cast<double>(all.on_cpu_ns) - known_ns;
  Branch steady = Steady(windows, all, clock);
  if (tail_ns - interrupts_ns <= slack_ns + noise_ns) return steady;
  const double native_ns = NativeOf(clock, windows.size());
  const double short_ns = calls.count * clock.call()->ns * (1 + clock.interrupt_ratio());
  if (short_ns > (1 - kSmallTail) * native_ns) {
    Span(mean.calls, steady.calls);
    Span(mean.bytes, steady.bytes);
  }
  return mean;
}

// II.5 item 3: the windows' starts contradict the windows.
bool Differ(const ErrorParts& whole, const ErrorParts& start) {
  const ErrorParts& low = whole.value < start.value ? whole : start;
  const ErrorParts& high = whole.value < start.value ? start : whole;
  const double gap =
      std::hypot(std::hypot(low.above, low.sampling), std::hypot(high.below, high.sampling));
  return high.value > kContradiction * low.value && high.value - low.value > gap;
}

}  // namespace

ThreadRate EstimateThread(std::span<const ThreadWindow> windows, const TrapCost& pool, bool mixed) {
  WindowSums all;
  uint64_t with_calls = 0;
  uint64_t shared = 0;
  uint64_t starts = 0;
  for (const ThreadWindow& window : windows) {
    all += window.whole;
    with_calls += window.whole.calls > 0;
    shared += window.whole.calls > 0 && window.shared;
    starts += window.running && window.start.calls > 0;
  }
  const bool together =
      static_cast<double>(shared) > kSharedWindows * static_cast<double>(with_calls);
  const double margin = together ? kSharedMargin : kMargin;
  const NativeClock clock(windows, &ThreadWindow::whole, pool, margin, mixed);
  ThreadRate rate;
  rate.on_cpu_ns = static_cast<double>(all.on_cpu_ns);
  Branch branch;
  if (IsLowDilation(windows, all, clock.trap_ns())) {
    branch = Plain(windows, all, clock);
    rate.native_ns = rate.on_cpu_ns - all.traps * clock.trap_ns();
  } else {
    branch = Whole(windows, all, clock, mixed);
    rate.native_ns = std::min(NativeOf(clock, windows.size()), rate.on_cpu_ns);
    if (starts >= kMinWindows) {
      const NativeClock start_clock(windows, &ThreadWindow::start, pool, margin, mixed);
      Branch start = MeanOfWindows(windows, &ThreadWindow::start, start_clock);
      rate.start_only = Differ(branch.calls, start.calls);
      if (rate.start_only) branch = std::move(start);
    }
  }
  rate.calls = branch.calls;
  rate.bytes = branch.bytes;
  rate.weights = std::move(branch.weights);
  return rate;
}

}  // namespace hotpath
