// What one window of allocator probes saw: hits, and who was on CPU between them.
#pragma once

#include <cstdint>
#include <vector>

namespace hotpath {

enum class HitKind : uint8_t {
  kFirst,      // Probe A, the first of two adjacent probes on the allocator's entry.
  kSecond,     // Probe B. From here to the next A the thread pays one trap and lives its own time.
  kWalked,     // Probe B, and its handler walked a stack: the gap that it opens says nothing.
  kOnly,       // The only probe of a site that offers just one.
  kSwitchIn,   // The thread was given a CPU...
  kSwitchOut,  // ...and lost it.
};

struct Hit {
  uint64_t time_ns;     // CLOCK_MONOTONIC, read first thing in the handler.
  uint32_t tid;         //
  uint32_t size_bytes;  // Asked for. Read at kFirst and kOnly, ignored elsewhere.
  HitKind kind;
};

struct RunningThread {
  uint32_t tid;
};

// One window of one process. Nothing is recorded before `armed_ns` or after `disarmed_ns`.
struct ProbeWindow {
  uint64_t armed_ns = 0;
  uint64_t disarmed_ns = 0;
  bool hit_cap_reached = false;        // Recording stopped at the last hit, not at `disarmed_ns`.
  std::vector<RunningThread> running;  // The process's threads on CPU at `armed_ns`.
  std::vector<Hit> hits;               // In time order within a CPU, in any order between CPUs.
};

}  // namespace hotpath
