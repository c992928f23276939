// The row writer: merges equal neighbours, numbers rules.
#include "daemon/files/unwind_rows.h"

#include <algorithm>
#include <cstring>

namespace hotpath {
namespace {

struct RuleBits {
  uint64_t low, high;
  friend bool operator==(const RuleBits&, const RuleBits&) = default;
};

RuleBits BitsOf(const hp_rule& rule) {
  RuleBits bits;
  static_assert(sizeof(bits) == sizeof(rule));
  std::memcpy(&bits, &rule, sizeof(bits));
  return bits;
}

}  // namespace

UnwindRowWriter::UnwindRowWriter(uint64_t first_offset, size_t max_rows, size_t expected_rows)
    : max_rows_(max_rows), rules_(1), slots_(kSlots) {
  rows_.reserve(std::min(expected_rows, max_rows) + 2);
  const uint64_t block = uint64_t{1} << HP_BLOCK_SHIFT;
  rows_.push_back({.file_offset = first_offset & ~(block - 1), .rule = HP_RULE_NONE});
}

void UnwindRowWriter::Add(uint64_t file_offset, const hp_rule& rule) {
  const uint16_t index = IndexOf(rule);
  UnwindRow& last = rows_.back();
  if (last.rule == index) return;
  // A row of no length is replaced, except the first, which stays whatever follows it.
  if (last.file_offset == file_offset && rows_.size() > 1) {
    if (rows_[rows_.size() - 2].rule == index) {
      rows_.pop_back();
    } else {
      last.rule = index;
    }
    return;
  }
  if (rows_.size() >= max_rows_) {
    full_ = true;
    return;
  }
  rows_.push_back({.file_offset = file_offset, .rule = index});
}

uint16_t UnwindRowWriter::IndexOf(const hp_rule& rule) {
  if (rule.cfa_kind == HP_CFA_NONE) return HP_RULE_NONE;
  const RuleBits bits = BitsOf(rule);
  const uint64_t product = (bits.low ^ (bits.high * 0xc2b2ae3d27d4eb4fULL)) * 0x9e3779b97f4a7c15ULL;
  size_t slot = product >> 47;  // The 17 best mixed bits.
  static_assert(kSlots == size_t{1} << 17);
  while (slots_[slot] != 0) {
    if (BitsOf(rules_[slots_[slot]]) == bits) return slots_[slot];
    slot = (slot + 1) % kSlots;
  }
  if (rules_.size() > kMaxRules) {
    ++rules_dropped_;
    return HP_RULE_NONE;
  }
  rules_.push_back(rule);
  slots_[slot] = static_cast<uint16_t>(rules_.size() - 1);
  return slots_[slot];
}

}  // namespace hotpath
