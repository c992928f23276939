// One thread: which of the estimators holds for it, and what it says.
#include "daemon/estimate/thread_rate.h"

#include <algorithm>
#include <cmath>

#include "daemon/estimate/estimators.h"
#include "daemon/estimate/native_clock.h"
#include "daemon/estimate/student.h"

namespace hotpath {

namespace {

constexpr double kSharedMargin = 0.04;      // kMargin, with two threads trapping at once.
constexpr double kSharedWindows = 0.1;      // Share of windows from which that counts.
constexpr double kTailRatio = 0.03;         // Time outside short gaps that steady threads have.
constexpr double kSmallTail = 1.0 / 3;      // Of native time: both branches may be true.
constexpr double kLowDilation = 0.05;       // Share of time in traps: no need to undo it.
constexpr double kLowDilationAtHits = 0.1;  // The same, as the mean hit sees it.
constexpr double kContradiction = 1.2;      // Between windows and their starts; less is chance.
constexpr double kAbove = 1.1;              // The same without being sure of it.
constexpr double kCertain = 1.5;            // Half intervals: a contradiction by chance in 300.
constexpr double kUnseenBias = 2;           // Bias of window starts, by what whole windows differ.
constexpr double kUnseenShare = 0.75;       // Of what whole windows say at least.
constexpr uint64_t kMinWindows = 8;

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

// II.5 item 3: the windows' starts contradict the windows. Both saw the same moments, so the
// differences are taken window by window.
bool Contradict(std::span<const ThreadWindow> windows, const Branch& whole, const Branch& start) {
  const double low = std::min(whole.calls.value, start.calls.value);
  const double high = std::max(whole.calls.value, start.calls.value);
  if (high <= kContradiction * low) return false;
  double sum = 0;
  double squares = 0;
  uint64_t count = 0;
  for (size_t k = 0; k < windows.size(); ++k) {
    if (!windows[k].running) continue;
    const double difference =
        whole.weights[k] * windows[k].whole.calls - start.weights[k] * windows[k].start.calls;
    sum += difference;
    squares += difference * difference;
    ++count;
  }
  if (count < kMinWindows) return false;
  const auto n = static_cast<double>(count);
  const double variance = std::max(0.0, squares - sum * sum / n) * n / (n - 1);
  return std::abs(sum) > kCertain * Student975(count - 1) * std::sqrt(variance);
}

// Widens `parts` to hold the interval of `other`, drawing of windows included.
void SpanInterval(ErrorParts& parts, const ErrorParts& other) {
  const auto beyond = [&](double half) {
    return std::sqrt(std::max(0.0, half * half - parts.sampling * parts.sampling));
  };
  const double low = other.value - std::hypot(other.below, other.sampling);
  const double high = other.value + std::hypot(other.above, other.sampling);
  parts.below = std::max(parts.below, low < parts.value ? beyond(parts.value - low) : 0);
  parts.above = std::max(parts.above, high > parts.value ? beyond(high - parts.value) : 0);
  parts.unbounded = parts.unbounded || other.unbounded;
}

// The thread has phases shorter than a window, perhaps than a window's start: what is left of the
// bias may be as large as what was seen of it, and twice that is allowed for; or, where whole
// windows say less, a quarter less than they say at least.
void Extend(ErrorParts& start, const ErrorParts& whole) {
  const double seen = kUnseenBias * std::abs(start.value - whole.value);
  const double least = (whole.value - std::hypot(whole.below, whole.sampling)) * kUnseenShare;
  start.above += seen;
  start.below =
      whole.value < start.value ? std::max(start.below, start.value - least) : start.below + seen;
}

// Whole windows or their starts. If neither contradicts the other, the interval holds both, except
// for steady threads, of which all parts are alike.
void Reconcile(std::span<const ThreadWindow> windows, Branch start, Branch& branch,
               ThreadRate& rate) {
  // Calls faster than the error of d contradict each other by noise alone.
  const bool noise = branch.steady && branch.calls.unbounded;
  if (!noise && Contradict(windows, branch, start)) {
    rate.start_only = true;
    Extend(start.calls, branch.calls);
    Extend(start.bytes, branch.bytes);
    branch = std::move(start);
  } else if (!branch.steady) {
    // Starts above whole windows: both may look forward to the next fast phase too often.
    if (start.calls.value > kAbove * branch.calls.value) {
      Extend(start.calls, branch.calls);
      Extend(start.bytes, branch.bytes);
    }
    SpanInterval(branch.calls, start.calls);
    SpanInterval(branch.bytes, start.bytes);
  }
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
    starts += window.running;
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
      Reconcile(windows, MeanOfWindows(windows, &ThreadWindow::start, start_clock), branch, rate);
    }
  }
  rate.calls = branch.calls;
  rate.bytes = branch.bytes;
  rate.weights = std::move(branch.weights);
  return rate;
}

}  // namespace hotpath
