// Writes the rows of an unwind table in ascending order, each distinct rule kept once.
#pragma once

#include <cstdint>
#include <vector>

#include "bpf/unwind_abi.h"
#include "daemon/files/unwind_table.h"

namespace hotpath {

// Owns the rows and rules until they are taken. One thread. A rule is found by hashing into a table
// that never grows, for a file has a few hundred of them.
class UnwindRowWriter {
 public:
  static constexpr size_t kMaxRules = 65'535;

  UnwindRowWriter(uint64_t first_offset, size_t max_rows, size_t expected_rows);

  // `file_offset` never below the last one. A rule equal to the one before it adds no row.
  void Add(uint64_t file_offset, const hp_rule& rule);

  bool full() const { return full_; }                      // More rows than max_rows came.
  size_t rules_dropped() const { return rules_dropped_; }  // Rows whose rule had no room.
  std::vector<UnwindRow> TakeRows() { return std::move(rows_); }
  std::vector<hp_rule> TakeRules() { return std::move(rules_); }

 private:
  uint16_t IndexOf(const hp_rule& rule);

  static constexpr size_t kSlots = 131'072;  // A power of two, twice the rules there can be.
  const size_t max_rows_;
  std::vector<UnwindRow> rows_;  // rows_[0] is HP_CFA_NONE at the first block's start.
  std::vector<hp_rule> rules_;   // rules_[0] is HP_CFA_NONE.
  std::vector<uint16_t> slots_;  // Index into rules_ by hash, linear probing; 0 = free.
  bool full_ = false;
  size_t rules_dropped_ = 0;
};

}  // namespace hotpath
