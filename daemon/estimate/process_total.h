// Threads' rates, summed to the process's.
#pragma once

#include <cstdint>

#include "daemon/estimate/estimate.h"
#include "daemon/estimate/thread_rate.h"

namespace hotpath {

// Errors of the trap model are common to all threads, so they add up; windows are drawn for each
// thread, so their errors add in squares. Threads without an estimate count in the value, not in
// the lower end; in the upper end as if they were ten times as fast as the fastest other, if they
// have at most 5 % of the time, and otherwise there is none.
class ProcessTotal {
 public:
  // A group of threads was on CPU for `on_cpu_ns`. `known`: it has an estimate. `absent`: it has
  // none because windows did not find it on CPU as often as it runs.
  void AddTime(double on_cpu_ns, bool known, bool absent);
  void AddRate(const ThreadRate& rate, double on_cpu_ns, bool known);

  // Fills in rates, dilation, verdict and reason. `with_calls`: windows that saw any.
  void Conclude(uint64_t with_calls, uint64_t wall_ns, Estimate& estimate) const;

 private:
  struct Column {
    double value = 0;    // Of all groups.
    double seen = 0;     // Of groups with an estimate, as all that follows.
    double below = 0;    //
    double above = 0;    //
    double squares = 0;  // Of half intervals.
    double highest = 0;  // The highest upper end of a group, per on-CPU ns.

    void Add(const ErrorParts& parts, double on_cpu_ns, bool known);
    Rate Over(double wall_s, double unseen_ns, bool bounded) const;
  };

  Column calls_;
  Column bytes_;
  double seen_ns_ = 0;    // On-CPU time of groups with an estimate...
  double unseen_ns_ = 0;  // ...and of the others.
  bool unbounded_ = false;
  bool absent_ = false;
  double native_ns_ = 0;  // Of window time, without traps...
  double on_cpu_ns_ = 0;  // ...and with them.
};

}  // namespace hotpath
