// Native time of a close call, window by window: pooled over windows that agree.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "daemon/estimate/thread_rate.h"

namespace hotpath {

// Interrupts take the share eps of B -> A gaps and make them long; what is more than that is the
// thread's own work. One window has an interrupt or none, so windows are taken together.
struct WorkRatio {
  double ratio = 1;  // Of the time in long gaps without their traps: work.
  double error = 0;  // Half its 95 % interval, by the number of interrupts.
};
// `gaps_ns`: all B -> A time, `long_ns`: what of it is in long gaps, without traps. `interrupts`:
// long A -> B gaps of the same windows.
WorkRatio MeasureWork(double gaps_ns, double long_ns, double interrupts, double interrupt_ratio);

inline double GapTime(const WindowSums& sums) {
  return static_cast<double>(sums.close_call.ns + sums.call.ns + sums.long_call.ns);
}
inline double LongTime(const WindowSums& sums, double trap_ns) {
  return static_cast<double>(sums.long_call.ns) - sums.long_call.count * trap_ns;
}

inline constexpr double kCallBand = 0.1;  // Of c: noise of d between windows, three sigmas.

struct CallTime {
  double ns = 0;        // d of the window's close calls.
  double error_ns = 0;  // Half its 95 % interval.
  WorkRatio work;       // Of the windows that agree.
};

// A thread's d differs between windows for two reasons: noise, which has a standard deviation of
// 12 to 23 ns whatever the window's length, and phases. Noise must be averaged out, for a rate is
// 1 / d; phases must not, for fast ones would lend their hits to slow ones. So a window's d is the
// mean, weighted by hits, over the windows within a tenth of c of it.
//
// None: the window has fewer than `min_pairs` close calls or A -> B gaps.
// The error is 5 % of c where fewer than 4 windows agree.
std::vector<std::optional<CallTime>> PoolCallTimes(std::span<const ThreadWindow> windows,
                                                   WindowSums ThreadWindow::* part,
                                                   const TrapCost& trap, size_t min_pairs);

}  // namespace hotpath
