// Ratio estimates by stack.
#include "daemon/estimate/stack_share.h"

#include <algorithm>
#include <cmath>

#include "daemon/estimate/student.h"

namespace hotpath {

namespace {
constexpr uint64_t kMinWindows = 8;
}  // namespace

void StackShares::CloseWindow() {
  double y = 0;
  for (const auto& [stack, weight] : open_) y += weight;
  for (const auto& [stack, weight] : open_) {
    Sums& sums = stacks_[stack];
    sums.x += weight;
    sums.xx += weight * weight;
    sums.xy += weight * y;
  }
  open_.clear();
  total_ += y;
  total_yy_ += y * y;
  ++windows_;
}

double StackShares::Sum(uint64_t stack) const {
  const auto found = stacks_.find(stack);
  return found == stacks_.end() ? 0 : found->second.x;
}

Share StackShares::Of(uint64_t stack) const {
  Share share;
  if (total_ <= 0) return share;
  const auto found = stacks_.find(stack);
  const Sums sums = found == stacks_.end() ? Sums{} : found->second;
  share.ratio = sums.x / total_;
  if (windows_ < kMinWindows) return share;
  const auto windows = static_cast<double>(windows_);
  const double squares =
      std::max(0.0, sums.xx - 2 * share.ratio * sums.xy + share.ratio * share.ratio * total_yy_);
  const double half =
      Student975(windows_ - 1) * std::sqrt(windows / (windows - 1) * squares) / total_;
  share.lower = std::max(0.0, share.ratio - half);
  share.upper = std::min(1.0, share.ratio + half);
  return share;
}

}  // namespace hotpath
