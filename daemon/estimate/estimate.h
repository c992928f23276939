// What windows say about a process: rates, how sure they are, and what it cost.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace hotpath {

// A number and its 95 % interval.
struct Rate {
  double value = 0;             // Best guess.
  double lower = 0;             //
  std::optional<double> upper;  // None: no upper end is known, so "at least `lower`".
};

enum class Verdict {
  kNone,     // No estimate: the numbers are a guess and must not be published as rates.
  kAtLeast,  // Only `lower` is known.
  kRate,     // Value and both ends.
};

// What there is to say about a process after some windows.
struct Estimate {
  Verdict verdict = Verdict::kNone;
  std::string_view reason;  // Why the verdict is not kRate; empty if it is. Static text.
  Rate calls_per_s;         // Of wall time.
  Rate bytes_per_s;
  double dilation_ratio = 0;  // 1 - native / wall: share of on-CPU window time spent in traps.
  double trap_ns = 0;         // One trap, as these windows measured it.
  uint64_t windows = 0;
  uint64_t hits = 0;  // Allocating calls seen: a call that hit both probes is one.
  uint64_t armed_ns = 0;
  double duty_ratio = 0;  // armed / wall.
};

}  // namespace hotpath
