// Three estimators of a thread's rate; which of them holds is for EstimateThread() to say.
#pragma once

#include <span>
#include <vector>

#include "daemon/estimate/native_clock.h"
#include "daemon/estimate/thread_rate.h"
#include "daemon/estimate/window_sums.h"

namespace hotpath {

inline constexpr double kMargin = 0.02;  // Of c, d and r: the measured bias of the method.

// An answer: calls and bytes per on-CPU ns, and what a hit of each window stands for.
struct Branch {
  ErrorParts calls;
  ErrorParts bytes;
  std::vector<double> weights;
  bool steady = false;
};

// Calls by native time, all windows as one: where traps take next to nothing. `all`: the sum of
// the windows.
Branch Plain(std::span<const ThreadWindow> windows, const WindowSums& all,
             const NativeClock& clock);

// All of the thread's time is short calls: 1 / (d (1 + eps)). Needs clock.call() and calls.
Branch Steady(std::span<const ThreadWindow> windows, const WindowSums& all,
              const NativeClock& clock);

// The mean over windows of calls by native time: for threads whose rate changes. Only windows that
// found the thread on CPU are drawn in proportion to its time, so only they count. `part` is the
// one that `clock` was made for.
Branch MeanOfWindows(std::span<const ThreadWindow> windows, WindowSums ThreadWindow::* part,
                     const NativeClock& clock);

}  // namespace hotpath
