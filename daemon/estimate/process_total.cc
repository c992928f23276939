// Sums and their errors, and what may be said of them.
#include "daemon/estimate/process_total.h"

#include <algorithm>
#include <cmath>

namespace hotpath {

namespace {
constexpr uint64_t kMinWindows = 8;
constexpr double kUnseenRatio = 0.05;  // On-CPU time of threads without estimate we can bound.
constexpr double kUnseenFactor = 10;   // They may be so much faster than the fastest other.
}  // namespace

void ProcessTotal::Column::Add(const ErrorParts& parts, double on_cpu_ns, bool known) {
  value += parts.value * on_cpu_ns;
  if (!known) return;
  seen += parts.value * on_cpu_ns;
  below += parts.below * on_cpu_ns;
  above += parts.above * on_cpu_ns;
  squares += std::pow(parts.sampling * on_cpu_ns, 2);
  highest = std::max(highest, parts.value + std::hypot(parts.above, parts.sampling));
}

Rate ProcessTotal::Column::Over(double wall_s, double unseen_ns, bool bounded) const {
  const double low = seen - std::hypot(below, std::sqrt(squares));
  const double high = std::max(
      seen + std::hypot(above, std::sqrt(squares)) + unseen_ns * kUnseenFactor * highest, value);
  Rate rate{.value = value / wall_s, .lower = std::max(0.0, low) / wall_s, .upper = {}};
  if (bounded) rate.upper = high / wall_s;
  return rate;
}

void ProcessTotal::AddTime(double on_cpu_ns, bool known, bool absent) {
  (known ? seen_ns_ : unseen_ns_) += on_cpu_ns;
  absent_ = absent_ || absent;
}

void ProcessTotal::AddRate(const ThreadRate& rate, double on_cpu_ns, bool known) {
  calls_.Add(rate.calls, on_cpu_ns, known);
  bytes_.Add(rate.bytes, on_cpu_ns, known);
  native_ns_ += rate.native_ns;
  on_cpu_ns_ += rate.on_cpu_ns;
  unbounded_ = unbounded_ || (known && rate.calls.unbounded);
}

void ProcessTotal::Conclude(uint64_t with_calls, uint64_t wall_ns, Estimate& estimate) const {
  const double wall_s = static_cast<double>(wall_ns) / 1e9;
  const double run_ns = seen_ns_ + unseen_ns_;
  const bool hidden = unseen_ns_ > kUnseenRatio * run_ns;
  const bool bounded = !hidden && !unbounded_;
  if (on_cpu_ns_ > 0) estimate.dilation_ratio = 1 - native_ns_ / on_cpu_ns_;
  if (hidden) {
    estimate.reason = absent_ ? "windows did not find threads on CPU as often as they run"
                              : "too few windows found the busy threads on CPU";
  } else if (unbounded_) {
    estimate.reason = "calls follow each other faster than a trap can be measured";
  }
  if (with_calls < kMinWindows) {
    estimate.reason = "fewer than 8 windows saw an allocation";
  } else if (run_ns <= 0) {
    estimate.reason = "no thread was on CPU";
  }
  const bool none = with_calls < kMinWindows || run_ns <= 0;
  estimate.calls_per_s = calls_.Over(wall_s, unseen_ns_, bounded && !none);
  estimate.bytes_per_s = bytes_.Over(wall_s, unseen_ns_, bounded && !none);
  estimate.verdict = bounded ? Verdict::kRate : Verdict::kAtLeast;
  if (none || (!bounded && estimate.calls_per_s.lower <= 0)) estimate.verdict = Verdict::kNone;
}

}  // namespace hotpath
