// A profile of allocations under way: some processes, windows on them in turn, and what it all
// amounts to.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "daemon/allocations/process_windows.h"
#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/estimate/byte_sampling.h"
#include "daemon/profile/window.h"

namespace hotpath {

// One thread. Borrows `probes`.
class AllocSession {
 public:
  AllocSession(AllocProbes* probes, uint64_t seed) : probes_(probes), random_(seed), seed_(seed) {}

  // `file` is open on the allocator's file and becomes the session's. Of all windows, a process
  // gets the share that its `weight` is of the sum. Errors: as ProcessWindows::Begin.
  Result<void> Add(AllocTarget target, Fd file, double weight);
  bool empty() const { return processes_.empty(); }

  // Opens windows at random times, `mean_gap` apart in the mean, until `stop()` says so; it is
  // asked between windows. A process whose windows fail (it has ended) gets no more.
  void Run(std::chrono::nanoseconds mean_gap, const std::function<bool(uint64_t now_ns)>& stop);

  // Sets the values of the window's rows, which are to be those of `sampled` in order of
  // sample_types alloc_objects and alloc_space: how many of each process's allocations in the time
  // of the session they stand for. Sums agree with the estimate of each process. Without an
  // estimate its rows are 0; where only a lower end is known they are that. Comments say which, and
  // what windows there were. Sampled allocations without a stack become losses of the same weight.
  void Weigh(const std::vector<UnweighedSample>& sampled, Window& window);

  // Over all processes, after Weigh().
  const WindowTotals& totals() const { return totals_; }
  double trap_ns() const { return trap_ns_; }

 private:
  struct Process {
    Fd file;
    ProcessWindows windows;
    double weight = 0;
    bool ended = false;
    std::string error;  // Why it has ended.
  };
  struct Sums {
    double objects = 0;
    double bytes = 0;
  };
  Process* Draw();
  void AddComments(const std::vector<std::pair<const Process*, Estimate>>& results,
                   Window& window) const;

  AllocProbes* const probes_;
  std::deque<Process> processes_;  // Not moved: each watches its process.
  std::mt19937_64 random_;
  const uint64_t seed_;
  WindowTotals totals_;
  double trap_ns_ = 0;
};

}  // namespace hotpath
