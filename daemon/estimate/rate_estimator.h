// From windows of allocator probes to a process's true allocation rate, with its error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/estimate/estimate.h"
#include "daemon/estimate/probe_window.h"
#include "daemon/estimate/thread_rate.h"

namespace hotpath {

class ProcessTotal;

// On-CPU time from sched_switch time stamps, outside the windows, where the thread runs at its own
// speed. Threads that ended count too, and those that never switch. A thread missing here adds
// nothing.
struct ThreadExposure {
  uint32_t tid;
  uint64_t on_cpu_ns;
};

// The allocation rate that a process has when nobody looks.
//
// A trap costs some 500 ns, a malloc 8 to 20: inside a window a busy thread allocates up to 100
// times slower. So every call is trapped twice, at adjacent instructions. Of one thread
//
//   gap(A -> B)      = c          one trap
//   gap(B -> next A) = c + d      one trap and the native time per call
//
// and d is the difference of their means (of gaps up to 10 medians of c; longer ones are
// interrupts, sleep or work). Interrupts take the share eps of A -> B gaps, so of native time too.
// Example: A -> B 500 ns, B -> A 580 ns, eps 3 %: the thread makes 1 / (80 ns * 1.03) = 12.1 M
// calls per second on CPU; divided by the window's length it would be 0.9 M.
//
// Where all of a thread's window time is such gaps and d is the same in all windows (steady), that
// is its rate. Otherwise each window k has N calls in tau native nanoseconds, and the rate is the
// mean over windows of N / tau, never sum / sum: a burst dilates its own window. If the first
// 0.1 ms of the windows contradict the whole, they win: phases were shorter than the windows. Rates
// are per on-CPU time; the process is the sum over threads of rate times on-CPU time outside
// windows. Threads expected on CPU in fewer than 16 windows are estimated together.
//
// The interval holds what was measured on threads of known rate: t(0.975) standard errors between
// windows, 2 % of c and 2 % of d (4 % when two threads trap in one window), both answers where it
// is not clear which holds, and twice what windows and their starts contradict each other. With d
// below 5 ns at its lower end there is no upper end. No estimate: fewer than 8 windows with calls,
// or threads that windows do not find on CPU as often as they run.
//
// One a process; any one thread. Keeps sums, not hits: at most kMaxWindows windows and kMaxSums
// thread-windows of 400 bytes (3 MiB), the oldest forgotten first.
class RateEstimator {
 public:
  static constexpr size_t kMaxWindows = 4096;
  static constexpr size_t kMaxSums = 8192;
  static constexpr size_t kMaxThreads = 256;  // A window; threads past it are counted only.

  // `trap_ns`: one trap as calibrated on this host, for sites with one probe, and until windows
  // have measured their own.
  explicit RateEstimator(double trap_ns) : calibrated_trap_ns_(trap_ns) {}

  // Returns the window's index, 0 for the first. Broken windows (disarmed before armed, hits
  // outside) are cut to what is inside.
  uint64_t Add(const ProbeWindow& window);

  // What the remembered windows say about `wall_ns` of the process's life, in which its threads
  // were on CPU for `exposures`. Also decides the weights below. `wall_ns` counts the windows too.
  Estimate Result(uint64_t wall_ns, const std::vector<ThreadExposure>& exposures);

  // By the last Result(): how many of the process's calls in `wall_ns` one hit stands for, made by
  // `tid` in window `window`, `since_armed_ns` after its start. The sum over all hits is
  // calls_per_s.value * wall. 0: the hit lies past the part of the window that is used, or its
  // window is forgotten, or its thread has no exposure. Multiply by 1 / p(size) if byte-sampled.
  double WindowWeight(uint64_t window, uint32_t tid, uint64_t since_armed_ns) const;

  uint64_t threads_dropped() const { return threads_dropped_; }  // Thread-windows past a bound.

 private:
  struct WindowRecord {
    uint64_t armed_ns = 0;    // Its length, not its time.
    uint64_t first_sums = 0;  // Its thread-windows: the number of the first, counted from Add()...
    size_t sums = 0;          // ...and how many.
    bool calls = false;
  };
  struct ThreadRecord {
    uint32_t tid = 0;
    ThreadWindow window;
    double weight = 0;
    bool start_only = false;  // The weight is for hits in the first kStart_ns.
  };
  struct Group {  // Threads that are estimated as one.
    std::vector<size_t> records;
    double on_cpu_ns = 0;  // Exposure of its threads, stretched to all of the wall time.
    double expected = 0;   // Windows that should find them on CPU, and the variance of that.
    double variance = 0;
    uint64_t found = 0;  // Windows that did.
  };
  using Exposures = std::unordered_map<uint32_t, double>;
  void AddThread(uint64_t begin_ns, uint64_t end_ns, bool running, uint32_t tid,
                 std::span<const Hit> hits);
  void MarkShared();
  void Forget();
  std::pair<std::vector<Group>, Group> Groups(double wall_ns, const Exposures& on_cpu) const;
  void Weigh(const Group& group, bool mixed, const TrapCost& pool, ProcessTotal& total);

  double calibrated_trap_ns_;
  double median_trap_ns_ = 0;  // Of the latest windows; 0: none yet.
  uint64_t first_window_ = 0;  // Index of windows_.front().
  uint64_t first_sums_ = 0;    // Number of sums_.front().
  std::deque<WindowRecord> windows_;
  std::deque<ThreadRecord> sums_;  // In window order.
  uint64_t threads_dropped_ = 0;
};

}  // namespace hotpath
