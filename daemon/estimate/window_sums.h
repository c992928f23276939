// One thread in one window, as sums over the gaps between its hits.
#pragma once

#include <cstdint>
#include <span>

#include "daemon/estimate/probe_window.h"

namespace hotpath {

struct GapSum {
  uint32_t count = 0;
  uint64_t ns = 0;
  void Add(uint64_t gap_ns) {
    ++count;
    ns += gap_ns;
  }
  GapSum& operator+=(const GapSum& other) {
    count += other.count;
    ns += other.ns;
    return *this;
  }
  friend GapSum operator+(GapSum a, const GapSum& b) { return a += b; }
};

// What is kept of a thread's hits. "Long" is past the cap, ten times the usual A -> B gap.
// Invariant: the gaps and `before_ns` never sum to more than `on_cpu_ns`.
struct WindowSums {
  uint64_t on_cpu_ns = 0;
  uint64_t size_bytes = 0;     // Of the calls.
  uint32_t calls = 0;          // Hits of kFirst and kOnly.
  uint32_t traps = 0;          // All hits.
  GapSum trap;                 // A -> B: one trap.
  GapSum long_trap;            // A -> B, long: interrupts, for nothing else happens there.
  GapSum close_call;           // B -> A, up to 3 traps: one trap and a native time too short to be
                               // told from it gap by gap.
  GapSum call;                 // B -> A, up to the cap: the same with more native time.
  GapSum long_call;            // B -> A, long: one trap and whatever the thread did.
  GapSum other;                // Between other hits (A -> A, one-probe sites): one trap and more.
  GapSum walked;               // Opened by a stack walk: as good as a short call, of unknown cost.
  GapSum after;                // From the last hit to the loss of the CPU, if longer than a trap.
  uint64_t before_ns = 0;      // From getting a CPU to the first hit, long: native time.
  uint32_t short_befores = 0;  // The same, short: half a call on average.

  WindowSums& operator+=(const WindowSums& other);
};

// Sums of `hits`, one thread's in time order, between `begin_ns` and `end_ns`. `running`: on CPU at
// `begin_ns`; hits before any switch say so too. `trap_ns`: what a trap takes, roughly.
WindowSums SumGaps(std::span<const Hit> hits, bool running, uint64_t begin_ns, uint64_t end_ns,
                   double trap_ns);

// Was the thread on CPU at `begin_ns`, by its first event from then on? False without any.
bool RanAt(std::span<const Hit> hits, uint64_t begin_ns);

// Median A -> B gap; 0 if there are fewer than 8.
double MedianTrap(std::span<const Hit> hits);

}  // namespace hotpath
