// The differential of gaps, and window time with its traps taken out.
#include "daemon/estimate/native_clock.h"

#include <algorithm>
#include <cmath>

namespace hotpath {

namespace {

constexpr uint64_t kMinPairs = 30;             // For a c or d of one's own.
constexpr uint64_t kMinMixedPairs = 8;         // The same of a window among those of other threads.
constexpr uint64_t kMinInterruptPairs = 1000;  // For an eps of one's own: 0.5 ms.
constexpr double kPooledError = 0.05;          // Of c, taken from the process's other threads...
constexpr double kCalibratedError = 0.25;      // ...or from calibration: c changes with placement.
constexpr double kBand = 0.1;                  // Of c: noise of d between windows, three sigmas.

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
  MeasureWork(whole);
  if (cost_.pairs >= kMinPairs) MeasureCalls(all, margin, mixed);
}

// Interrupts take the share eps of B -> A gaps too, and make them long. What is more than that is
// the thread's work. By all windows together: in one window there is an interrupt or none.
void NativeClock::MeasureWork(const WindowSums& all) {
  const double long_ns = static_cast<double>(all.long_call.ns) - all.long_call.count * cost_.ns;
  if (long_ns <= 0) return;
  const double interrupted_ns =
      cost_.interrupt_ratio *
      static_cast<double>(all.close_call.ns + all.call.ns + all.long_call.ns);
  work_ratio_ = std::max(0.0, 1 - interrupted_ns / long_ns);
  const double seen = std::max<double>(all.long_trap.count, 1);
  work_error_ = std::min(1.0, 2 * interrupted_ns / long_ns / std::sqrt(seen));
}

void NativeClock::MeasureCalls(const WindowSums& all, double margin, bool mixed) {
  const double band_ns = kBand * cost_.ns;
  close_ = PoolCallTimes(windows_, part_, band_ns, mixed ? kMinMixedPairs : kMinPairs,
                         kPooledError * cost_.ns);
  const GapSum calls = all.close_call + all.call;
  if (calls.count < kMinPairs) return;
  const double close_ns = std::max(0.0, MeanGap(all.close_call) - cost_.ns);
  call_ = CallTime{.ns = std::max(0.0, MeanGap(calls) - cost_.ns), .error_ns = 0};
  double weighted_error = 0;
  double weight = 0;
  for (size_t k = 0; k < windows_.size(); ++k) {
    const GapSum& close = (windows_[k].*part_).close_call;
    if (!close_[k]) {
      // Too few calls to tell: as the others', unless the others are strangers.
      if (!mixed && close.count > 0) {
        close_[k] = CallTime{.ns = close_ns, .error_ns = kPooledError * cost_.ns};
      }
    } else {
      uniform_ = uniform_ && std::abs(close_[k]->ns - close_ns) <= band_ns / 2;
      weighted_error += close_[k]->error_ns * close.count;
      weight += close.count;
    }
    if (close_[k]) close_[k]->error_ns += margin * (cost_.ns + close_[k]->ns);
  }
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
  const double work = std::clamp(work_ratio_ + errors * work_error_, 0.0, 1.0);
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
  return Tau(without, std::nullopt, -1);
}

}  // namespace hotpath
