// The account of CPU time.
#include "daemon/govern/cpu_governor.h"

#include <algorithm>

namespace hotpath {

namespace {
constexpr double kDebtShare = 0.1;  // Of a full account: a debt is forgiven beyond it...
constexpr double kRoomShare = 0.1;  // ...and a rate goes up only above it.
}  // namespace

CpuGovernor::CpuGovernor(double budget_ratio, int wanted_hz)
    : budget_ratio_(budget_ratio), wanted_hz_(wanted_hz), account_s_(budget_ratio * kAccount_s) {}

CpuPlan CpuGovernor::Step(double seconds, double used_s) {
  if (seconds <= 0) return {.hz = wanted_hz_ >> halvings_, .slow_files = false};
  recent_ratio_ += (used_s / seconds - recent_ratio_) * std::min(1.0, seconds / kRaiseEvery_s);
  if (budget_ratio_ <= 0) return {.hz = wanted_hz_, .slow_files = false};
  const double full_s = budget_ratio_ * kAccount_s;
  account_s_ =
      std::clamp(account_s_ + budget_ratio_ * seconds - used_s, -kDebtShare * full_s, full_s);
  unchanged_s_ += seconds;
  const bool empty = account_s_ <= 0;
  if (empty && unchanged_s_ >= kLowerEvery_s && wanted_hz_ >> (halvings_ + 1) > 0) {
    ++halvings_;
    ++lowered_;
    unchanged_s_ = 0;
  } else if (halvings_ > 0 && unchanged_s_ >= kRaiseEvery_s && account_s_ > kRoomShare * full_s &&
             2 * recent_ratio_ < budget_ratio_) {
    --halvings_;
    unchanged_s_ = 0;
  }
  return {.hz = wanted_hz_ >> halvings_, .slow_files = empty};
}

}  // namespace hotpath
