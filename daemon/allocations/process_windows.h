// One process's allocations over a stretch of time, by windows of probes.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/collect/alloc_probes.h"
#include "daemon/estimate/rate_estimator.h"

namespace hotpath {

// When windows open: at random times of an absolute schedule that knows nothing of what happens.
// Gaps are exponential, so that no period of a program can lock to them. Times that have passed
// while a window was under way are dropped, not made up for.
class WindowSchedule {
 public:
  WindowSchedule(uint64_t now_ns, uint64_t mean_gap_ns, uint64_t seed)
      : next_ns_(now_ns), gaps_(1.0 / static_cast<double>(mean_gap_ns)), random_(seed) {}

  // The next time that is `prepare_ns` or more after `now_ns`.
  uint64_t Next(uint64_t now_ns, uint64_t prepare_ns) {
    do {
      next_ns_ += static_cast<uint64_t>(gaps_(random_));
    } while (next_ns_ < now_ns + prepare_ns);
    return next_ns_;
  }

 private:
  uint64_t next_ns_;
  std::exponential_distribution<double> gaps_;  // In ns.
  std::mt19937_64 random_;
};

// What windows cost and saw, for the profile's comments and metrics.
struct WindowTotals {
  uint64_t opened = 0;
  uint64_t armed_ns = 0;
  uint64_t hits = 0;
  uint64_t late_ns_max = 0;  // The longest that a window armed after its time.
  uint64_t stacks_lost = 0;  // Sampled allocations without a stack.
  uint64_t capped = 0;       // Windows that the number of hits ended.

  WindowTotals& operator+=(const WindowTotals& other);
};

// Watches the process from its making until it is destroyed. Borrows `probes` and the target's
// descriptor. One thread.
class ProcessWindows {
 public:
  // Errors: as AllocProbes::Watch.
  static Result<ProcessWindows> Begin(AllocProbes* probes, AllocTarget target);
  ProcessWindows(ProcessWindows&& other) noexcept;
  ProcessWindows& operator=(ProcessWindows&&) = delete;
  ~ProcessWindows();

  // Opens a window at `start_ns`; blocks until it is over. Errors: as AllocProbes::Open.
  Result<void> Open(uint64_t start_ns);
  // What they say of the time since Begin(). Weights hold until the next window is opened.
  Estimate Finish();
  // Calls that a hit of `tid` at `time_ns` stands for in that time; 0: of none of the windows.
  double Weight(uint32_t tid, uint64_t time_ns) const;

  uint32_t pid() const { return target_.pid; }
  const WindowTotals& totals() const { return totals_; }
  uint64_t wall_ns() const { return wall_ns_; }

 private:
  ProcessWindows(AllocProbes* probes, AllocTarget target);
  uint64_t LengthNs() const;

  AllocProbes* probes_ = nullptr;  // Null: moved from.
  AllocTarget target_;
  RateEstimator estimator_;
  uint64_t begin_ns_ = 0;
  uint64_t wall_ns_ = 0;
  WindowTotals totals_;
  std::map<uint64_t, std::pair<uint64_t, uint64_t>> windows_;  // Armed -> disarmed, index.
  std::set<uint32_t> hit_threads_;  // With a hit or a switch in some window.
};

}  // namespace hotpath
