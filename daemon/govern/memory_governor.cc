// The order of giving up.
#include "daemon/govern/memory_governor.h"

#include <algorithm>

namespace hotpath {

MemoryGovernor::MemoryGovernor(uint64_t limit_bytes, uint64_t table_cap_bytes)
    : limit_bytes_(limit_bytes),
      full_cap_bytes_(limit_bytes == 0 ? table_cap_bytes : limit_bytes / 10 * 6),
      cap_bytes_(full_cap_bytes_) {}

MemoryPlan MemoryGovernor::Step(const MemoryUse& use) {
  if (limit_bytes_ == 0) return {.table_cap_bytes = full_cap_bytes_};
  const uint64_t total = use.total();
  const bool over = total > limit_bytes_;
  if (over) {
    calm_steps_ = 0;
    if (level_ != Level::kCaptures) level_ = static_cast<Level>(static_cast<int>(level_) + 1);
  } else if (total <= limit_bytes_ / 8 * 7 && level_ != Level::kRoom &&
             ++calm_steps_ >= kCalmSteps) {
    calm_steps_ = 0;
    level_ = static_cast<Level>(static_cast<int>(level_) - 1);
  }
  if (over && level_ >= Level::kTables) {
    const uint64_t excess = total - limit_bytes_ + limit_bytes_ / 32;
    cap_bytes_ = use.table_bytes - std::min(use.table_bytes, excess);
    ++tables_cut_;
  } else if (level_ < Level::kTables) {
    cap_bytes_ = full_cap_bytes_;
  }
  if (over) ++caches_dropped_;
  return {.drop_caches = over,
          .table_cap_bytes = cap_bytes_,
          .refuse_captures = level_ == Level::kCaptures};
}

}  // namespace hotpath
