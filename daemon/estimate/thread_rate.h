// One thread's rate per nanosecond on CPU, from its windows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "daemon/estimate/window_sums.h"

namespace hotpath {

// A thread in a window: all of it, and its first kStart_ns.
struct ThreadWindow {
  WindowSums whole;
  WindowSums start;
  bool running = false;  // On CPU when the window was armed.
  bool shared = false;   // Another thread trapped in it as well.
};

inline constexpr uint64_t kStart_ns = 100'000;

// What one trap costs.
struct TrapCost {
  double ns = 0;               // c
  double interrupt_ratio = 0;  // eps: share of time that interrupts and steal take.
  uint64_t pairs = 0;          // A -> B gaps behind it.
};

// `assumed` fills in what too few gaps (30 for c, 1,000 for eps) do not tell.
TrapCost MeasureTrap(const WindowSums& sums, const TrapCost& assumed);

// A number, how far off the model of traps may be below and above, and how far off the drawing of
// windows (half a 95 % interval).
struct ErrorParts {
  double value = 0;
  double below = 0;
  double above = 0;
  double sampling = 0;
  bool unbounded = false;  // There may be more than `above`: calls as fast as the error of d.
};

struct ThreadRate {
  ErrorParts calls;             // Per on-CPU ns.
  ErrorParts bytes;             //
  std::vector<double> weights;  // By window: on-CPU nanoseconds that one hit stands for, divided by
                                // calls: sum of hits * weight = calls.value. 0 = not used.
  bool start_only = false;      // Only hits in the first kStart_ns count.
  double native_ns = 0;         // Of the windows, without traps.
  double on_cpu_ns = 0;         // Of the windows, with them.
};

// dilation.md section 3, with its part II. `windows` is not empty; `pool`: the process's trap.
// `mixed`: the windows are of several threads, so that there is no common d.
ThreadRate EstimateThread(std::span<const ThreadWindow> windows, const TrapCost& pool, bool mixed);

}  // namespace hotpath
