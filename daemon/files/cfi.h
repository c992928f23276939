// Call frame information: runs one function's DWARF CFI program and gives its unwind rules.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "bpf/unwind_abi.h"
#include "daemon/files/byte_reader.h"

namespace hotpath {

// What a DWARF expression computes, as far as a rule can hold it.
struct CfiValue {
  enum class Kind : uint8_t {
    kUnknown,   // More than a rule can hold.
    kRegister,  // reg + offset
    kDeref,     // *(reg + offset) + add
    kPlt,       // rsp + 8 + ((rip & 15) >= offset ? 8 : 0)
  };
  static constexpr uint8_t kCfa = 0xff;  // As `reg`: the CFA, which register rules start from.

  Kind kind = Kind::kUnknown;
  uint8_t reg = 0;  // DWARF number 0..15, or kCfa.
  int32_t offset = 0;
  int32_t add = 0;

  friend bool operator==(const CfiValue&, const CfiValue&) = default;
};

// Reads a DWARF expression. `on_cfa`: the CFA is on the stack when it starts, as in
// DW_CFA_expression. kUnknown for what is malformed, long or more than a CfiValue can hold.
CfiValue ReadCfiExpression(std::span<const uint8_t> expression, bool on_cfa);

// How to get the caller's value of one register.
struct CfiRegister {
  enum class Kind : uint8_t {
    kUnspecified,
    kSame,
    kUndefined,
    kAtCfa,       // In memory at CFA + offset.
    kCfaPlus,     // CFA + offset itself.
    kAtRegister,  // In memory at reg + offset.
    kRegister,    // reg + offset itself.
    kUnsupported,
  };
  Kind kind = Kind::kUnspecified;
  uint8_t reg = 0;
  int32_t offset = 0;
};

// The row of the CFI table that the program is at: only what a rule can hold.
struct CfiState {
  CfiValue cfa;
  CfiRegister rbx, rbp, rsp, return_address;
};

// The rule for `state`; HP_CFA_NONE for what cannot be expressed.
hp_rule RuleOf(const CfiState& state);

// The encoding of a pointer in .eh_frame (DW_EH_PE_*) and what relative ones are relative to.
struct PointerBases {
  uint64_t section = 0;          // Virtual address of the section's first byte, for pcrel.
  std::optional<uint64_t> text;  // textrel; nullopt: such a pointer is malformed.
  std::optional<uint64_t> data;  // datarel.
};
constexpr uint8_t kPointerAbsolute = 0x00;
constexpr uint8_t kPointerOmitted = 0xff;

// Reads a pointer; a reader over the whole section, so that position() gives its address. For an
// indirect pointer gives the address it is stored at. nullopt: malformed or without a base.
std::optional<uint64_t> ReadPointer(ByteReader& reader, uint8_t encoding,
                                    const PointerBases& bases);

// A CIE: what its functions have in common.
struct Cie {
  bool usable = false;              // False: malformed or of an unknown kind; so are its functions.
  bool signal = false;              // Augmentation S: a frame that a signal handler returns to.
  bool sized_augmentation = false;  // Augmentation z.
  uint8_t pointer_encoding = kPointerAbsolute;
  uint8_t return_register = 16;
  uint64_t code_alignment = 1;
  int64_t data_alignment = 1;
  CfiState initial;
};

// A rule and the first virtual address it holds for.
struct CfiRow {
  uint64_t address;
  hp_rule rule;
};

constexpr size_t kMaxCieInstructions = 1024;
constexpr size_t kMaxRowsOfFunction = 1'000'000;
constexpr size_t kMaxRememberedStates = 64;

// Runs a CIE's own instructions from an empty state, into cie.initial. False: malformed.
bool RunInitialInstructions(ByteReader instructions, const PointerBases& bases, Cie& cie);

// Runs the instructions of a function at [start, end) and replaces `rows` by its rows: addresses
// ascend strictly from `start` and stay below `end`. False: malformed; `rows` is then unspecified.
// Takes time linear in the instructions' bytes.
bool RunInstructions(const Cie& cie, ByteReader instructions, const PointerBases& bases,
                     uint64_t start, uint64_t end, std::vector<CfiRow>& rows);

}  // namespace hotpath
