// What to give up, in which order, so that we stay under our memory limit.
#pragma once

#include <cstdint>

namespace hotpath {

struct MemoryUse {
  uint64_t resident_bytes = 0;  // Of the daemon's process.
  uint64_t map_bytes = 0;       // BPF maps of fixed size.
  uint64_t table_bytes = 0;     // Unwind tables, in BPF maps of their own.
  uint64_t total() const { return resident_bytes + map_bytes + table_bytes; }
};

struct MemoryPlan {
  bool drop_caches = false;  // Now: names of frames, perf maps, free heap pages.
  uint64_t table_cap_bytes = 0;
  bool refuse_captures = false;  // New ones; those under way take no more stacks they do not know.
};

// One step a second further while we are over the limit, one back after ten seconds at 7/8 of it or
// less: caches of names, then unwind tables, then captures. Tables may take 60 % as long as there
// is room; over the limit they are cut by what is too much.
//
// Arithmetic only: no clock, no thread.
class MemoryGovernor {
 public:
  enum class Level : uint8_t { kRoom, kCaches, kTables, kCaptures };
  static constexpr int kCalmSteps = 10;

  // 0: no limit, then tables may take `table_cap_bytes`.
  MemoryGovernor(uint64_t limit_bytes, uint64_t table_cap_bytes);

  MemoryPlan Step(const MemoryUse& use);
  Level level() const { return level_; }
  // Steps that dropped caches, cut tables, refused captures.
  uint64_t caches_dropped() const { return caches_dropped_; }
  uint64_t tables_cut() const { return tables_cut_; }

 private:
  const uint64_t limit_bytes_;
  const uint64_t full_cap_bytes_;
  uint64_t cap_bytes_;
  Level level_ = Level::kRoom;
  int calm_steps_ = 0;
  uint64_t caches_dropped_ = 0, tables_cut_ = 0;
};

}  // namespace hotpath
