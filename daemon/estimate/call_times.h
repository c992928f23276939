// Native time of a close call, window by window: pooled over windows that agree.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "daemon/estimate/thread_rate.h"

namespace hotpath {

struct CallTime {
  double ns = 0;        // d of the window's close calls.
  double error_ns = 0;  // Half its 95 % interval.
};

// A thread's d differs between windows for two reasons: noise, which has a standard deviation of
// 12 to 23 ns whatever the window's length, and phases. Noise must be averaged out, for a rate is
// 1 / d; phases must not, for fast ones would lend their hits to slow ones. So a window's d is the
// mean, weighted by hits, over the windows within `band_ns` of it.
//
// None: the window has fewer than `min_pairs` close calls or A -> B gaps.
// `unknown_ns`: the error where fewer than 4 windows agree.
std::vector<std::optional<CallTime>> PoolCallTimes(std::span<const ThreadWindow> windows,
                                                   WindowSums ThreadWindow::* part, double band_ns,
                                                   size_t min_pairs, double unknown_ns);

}  // namespace hotpath
