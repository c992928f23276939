// Unwind rules of one file, by file offset: what the stack walk in BPF reads.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/unwind_abi.h"
#include "daemon/base/result.h"
#include "daemon/files/elf_file.h"

namespace hotpath {

// How to find the caller's frame from a range of instructions.
struct UnwindRow {
  uint64_t file_offset;  // First byte the rule covers; it holds until the next row.
  uint16_t rule;         // Index into the table's own rules; 0 = a gap that belongs to no function.
};

// A function as .eh_frame tells it: what is left to name code of a stripped file.
struct FunctionRange {
  uint64_t address;  // ELF virtual address.
  uint64_t bytes;
};

// All the rows of one ELF file, built once by our own CFI interpreter. Immutable.
// About 18 rows a KiB of code; libc.so.6 has 23,241.
class UnwindTable {
 public:
  // Reads .eh_frame, or the one PT_GNU_EH_FRAME leads to in a file without sections, or
  // .debug_frame for the code that .eh_frame does not cover. Neighbours with equal rules are one
  // row. A file with neither gives an empty table (source() "none"). A malformed FDE costs only its
  // own range, and is counted in damaged(). The entry point, where no FDE covers it, is a root.
  // Padding of less than 16 bytes between functions belongs to the one before it. Larger gaps have
  // rule 0; HP_CFA_FRAME_POINTER where the file is Go's or keeps frame pointers instead of FDEs.
  // Signal returns of Go and musl, musl's first functions and glibc's _init and _fini are known by
  // name (known_functions.h). Errors: kMalformed, naming section and offset, when nothing can be
  // read; kTooLarge past `max_rows` (kept below what 16 bits of rules and the memory cap allow).
  static Result<UnwindTable> FromElf(const ElfFile& elf, size_t max_rows = 8'000'000);

  std::span<const UnwindRow> rows() const { return rows_; }
  std::span<const hp_rule> rules() const { return rules_; }  // rules()[0] is HP_CFA_NONE.
  std::string_view source() const { return source_; }        // "eh_frame", "debug_frame", "none".
  std::span<const FunctionRange> functions() const { return functions_; }  // Sorted, disjoint.
  size_t damaged() const { return damaged_; }  // FDEs and CIEs that could not be read.
  size_t outside() const { return outside_; }  // FDEs of code that is in no executable segment.
  size_t overlapping() const { return overlapping_; }  // FDEs of code that an earlier one covers.
  size_t unsupported() const { return unsupported_; }  // Rows that no hp_rule can express.
  size_t rules_dropped() const { return rules_dropped_; }  // Rows past 65,535 distinct rules.

  // O(log n). The rule at `file_offset`; rules()[0] where no function covers it.
  const hp_rule& Find(uint64_t file_offset) const;

  // The words of the BPF table (layout: bpf/unwind_abi.h, "One file's table"), rules still numbered
  // by this file, and the hp_file_info that goes with them (state HP_TABLE_READY).
  struct Words {
    hp_file_info info;
    std::vector<uint32_t> words;  // A multiple of HP_TABLE_LINE_WORDS.
  };
  Words ToWords() const;

 private:
  std::vector<UnwindRow> rows_;  // Sorted, no two neighbours with one rule; first is rule 0.
  std::vector<hp_rule> rules_;
  std::vector<FunctionRange> functions_;
  std::string source_ = "none";
  size_t damaged_ = 0, outside_ = 0, overlapping_ = 0, unsupported_ = 0, rules_dropped_ = 0;
};

}  // namespace hotpath
