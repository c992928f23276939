// The differential of gaps, and window time with its traps taken out.
#include "daemon/estimate/native_clock.h"

#include <algorithm>
#include <cmath>

namespace hotpath {

namespace {

constexpr uint64_t kMinPairs = 30;             // For a c or d of one's own.
constexpr uint64_t kMinMixedPairs = 8;         // The same of a window among those of other threads.
constexpr uint64_t kMinInterruptPairs = 1000;  // For an eps of one's own: 0.5 ms.
constexpr double kUniformTraps = 0.08;         // Of c: spread of d between windows by noise...
constexpr double kUniformCalls = 0.1;          // ...and of d, that does no harm.
constexpr double kPooledError = 0.05;          // Of c, taken from the process's other threads...
constexpr double kCalibratedError = 0.25;      // ...or from calibration: c changes with placement.

// Standard deviation between windows of d over all gaps up to the cap.
double SpreadOfCalls(std::span<const ThreadWindow> windows, WindowSums ThreadWindow::* part) {
  double sum = 0;
  double squares = 0;
  double weight = 0;
  for (const ThreadWindow& window : windows) {
    const WindowSums& sums = window.*part;
    const GapSum calls = sums.close_call + sums.call;
    if (calls.count < kMinPairs || sums.trap.count < kMinPairs) continue;
    const double own_ns = MeanGap(calls) - MeanGap(sums.trap);
    sum += calls.count * own_ns;
    squares += calls.count * own_ns * own_ns;
    weight += calls.count;
  }
  return weight > 0 ? std::sqrt(std::max(0.0, squares / weight - std::pow(sum / weight, 2))) : 0;
}

}  // namespace

TrapCost MeasureTrap(const WindowSums& sums, const TrapCost& assumed) {
  TrapCost cost = assumed;
  cost.pairs = sums.trap.count;
  if (cost.pairs >= kMinPairs) cost.ns = MeanGap(sums.trap) - kBetweenProbes_ns;
  if (cost.pairs >= kMinInterruptPairs) {
    const auto interrupted = static_cast<double>(sums.long_trap.ns);
    cost.interrupt_ratio = interrupted / (static_cast<double>(sums.trap.ns) + interrupted);
  }
  return cost;
}

NativeClock::NativeClock(std::span<const ThreadWindow> windows, WindowSums ThreadWindow::* part,
                         const TrapCost& pool, double margin, bool mixed)
    : windows_(windows), part_(part), close_(windows.size()) {
  WindowSums whole;
  WindowSums all;
  for (const ThreadWindow& window : windows) {
    whole += window.whole;
    all += window.*part;
  }
  cost_ = MeasureTrap(whole, pool);
  const double foreign_error = pool.pairs >= kMinPairs ? kPooledError : kCalibratedError;
  trap_error_ns_ = (cost_.pairs >= kMinPairs ? margin : foreign_error) * cost_.ns;
  if (cost_.pairs >= kMinPairs) MeasureCalls(all, margin, mixed);
  WindowSums others;
  for (size_t k = 0; k < windows.size(); ++k) {
    if (!close_[k]) others += windows[k].*part;
  }
  work_ = MeasureWork(GapTime(others), LongTime(others, cost_.ns), others.long_trap.count,
                      cost_.interrupt_ratio);
}

void NativeClock::MeasureCalls(const WindowSums& all, double margin, bool mixed) {
  close_ = PoolCallTimes(windows_, part_, cost_, mixed ? kMinMixedPairs : kMinPairs);
  const GapSum calls = all.close_call + all.call;
  if (calls.count < kMinPairs) return;
  const double close_ns = std::max(0.0, MeanGap(all.close_call) - cost_.ns);
  call_ = CallTime{.ns = std::max(0.0, MeanGap(calls) - cost_.ns), .error_ns = 0, .work = {}};
  double weighted_error = 0;
  double weight = 0;
  for (size_t k = 0; k < windows_.size(); ++k) {
    const GapSum& close = (windows_[k].*part_).close_call;
    if (!close_[k]) {
      // Too few calls to tell: as the others', unless the others are strangers.
      if (!mixed && close.count > 0) {
        close_[k] = CallTime{.ns = close_ns, .error_ns = kPooledError * cost_.ns, .work = {}};
      }
    } else {
      weighted_error += close_[k]->error_ns * close.count;
      weight += close.count;
    }
    if (close_[k]) close_[k]->error_ns += margin * (cost_.ns + close_[k]->ns);
  }
  uniform_ = SpreadOfCalls(windows_, part_) <= kUniformTraps * cost_.ns + kUniformCalls * call_->ns;
  call_->error_ns = (weight > 0 ? weighted_error / weight : kPooledError * cost_.ns) +
                    margin * (cost_.ns + call_->ns);
}

double NativeClock::Tau(const WindowSums& sums, const std::optional<CallTime>& close,
                        double errors) const {
  // Gaps that are one trap and an unknown rest.
  const auto rest = [&](const GapSum& gaps) {
    const double shifted_ns = cost_.ns - errors * trap_error_ns_;
    return std::max(0.0, static_cast<double>(gaps.ns) - gaps.count * shifted_ns);
  };
  const double per_call = close ? std::max(0.0, close->ns + errors * close->error_ns) : 0;
  const double close_ns = close ? sums.close_call.count * per_call : rest(sums.close_call);
  const WorkRatio& ratio = close ? close->work : work_;
  const double work = std::clamp(ratio.ratio + errors * ratio.error, 0.0, 1.0);
  double between_ns = close_ns + rest(sums.call) + work * rest(sums.long_call);
  const double gaps = double{1} * sums.close_call.count + sums.call.count + sums.long_call.count;
  // A walk hides a gap like the others.
  between_ns += sums.walked.count * (gaps > 0 ? between_ns / gaps : per_call);
  const double edges =
      static_cast<double>(sums.before_ns) + rest(sums.after) + sums.short_befores * per_call / 2;
  return (between_ns + rest(sums.other) + edges) * (1 + cost_.interrupt_ratio);
}

double NativeClock::Native(size_t k, double errors) const {
  return Tau(windows_[k].*part_, close_[k], errors);
}

double NativeClock::Least(size_t k) const {
  WindowSums without = windows_[k].*part_;
  without.close_call = {};
  const std::optional<CallTime> none{
      {.ns = 0, .error_ns = 0, .work = close_[k] ? close_[k]->work : work_}};
  return Tau(without, none, -1);
}

}  // namespace hotpath
