// Native time of a window: what its thread's time would have been without traps.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "daemon/estimate/call_times.h"
#include "daemon/estimate/thread_rate.h"
#include "daemon/estimate/window_sums.h"

namespace hotpath {

inline constexpr double kBetweenProbes_ns = 1;  // delta: native time from A to B.

inline double MeanGap(const GapSum& gaps) {
  return gaps.count == 0 ? 0 : static_cast<double>(gaps.ns) / gaps.count;
}

// c, eps and each window's d of a thread, with their errors. Made for one part of its windows.
class NativeClock {
 public:
  // `margin`: what of c and of d is added to statistical errors; 0.02, or 0.04.
  // `mixed`: windows of several threads.
  NativeClock(std::span<const ThreadWindow> windows, WindowSums ThreadWindow::* part,
              const TrapCost& pool, double margin, bool mixed);

  // tau of window `k`. `errors`: -1, 0 or +1 times all errors are added to each native time.
  double Native(size_t k, double errors) const;
  // The same if close calls took no time at all: no true tau is less.
  double Least(size_t k) const;

  double trap_ns() const { return cost_.ns; }
  double interrupt_ratio() const { return cost_.interrupt_ratio; }
  double trap_error_ns() const { return trap_error_ns_; }
  // d over all gaps up to the cap, as if all windows were alike; none with fewer than 30 pairs.
  const std::optional<CallTime>& call() const { return call_; }
  // d differs between windows by noise, or too little to matter.
  bool uniform() const { return uniform_; }

 private:
  double Tau(const WindowSums& sums, const std::optional<CallTime>& close, double errors) const;
  void MeasureCalls(const WindowSums& all, double margin, bool mixed);

  std::span<const ThreadWindow> windows_;
  WindowSums ThreadWindow::* part_;
  TrapCost cost_;
  double trap_error_ns_ = 0;  // Of gaps other than close calls.
  std::optional<CallTime> call_;
  std::vector<std::optional<CallTime>> close_;  // By window. None: what is left of each gap.
  bool uniform_ = true;
  WorkRatio work_;  // Of windows without a d of their own.
};

}  // namespace hotpath
