// One decoded x86-64 instruction, as far as placing a probe needs it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "daemon/placement/placement.h"

namespace hotpath {

// Where control goes behind an instruction.
enum class Flow : uint8_t {
  kNext,
  kBranch,    // A conditional one, to `target` or on.
  kJump,      // To `target`.
  kCall,      // To `target`, and back if it returns.
  kAway,      // Through a register or memory at an address that is not known: jmp *%rax.
  kAwayCall,  // call *%rax.
  kSlot,      // jmp *slot(%rip): to another function, as through the PLT.
  kReturn,
  kStop,  // Nothing behind it is a continuation: hlt, ud2, int3, syscall.
};

// Plain data; decoded by Zydis with all its operands.
struct Instruction {
  uint64_t address = 0;
  uint8_t bytes = 0;  // Its length.
  Flow flow = Flow::kNext;
  uint64_t target = 0;                                // Of kBranch, kJump, kCall.
  ProbeClass probe_class = ProbeClass::kRefused;      // What a uprobe on it would cost.
  const char* refusal = "";                           // Of kRefused: why.
  uint16_t written = 0;                               // Bit r: register r or a part of it.
  bool writes_memory = false;                         // Except by push and call.
  std::optional<int32_t> sp_change = 0;               // nullopt: rsp gets a value not known.
  std::optional<std::pair<Register, Register>> copy;  // All 64 bits of .second go to .first.
  bool is_landing_pad = false;                        // endbr64
};

// Decodes the first instruction of `code`, which lies at `address`. nullopt when it is none, or
// when it is longer than `code`.
std::optional<Instruction> DecodeInstruction(std::span<const uint8_t> code, uint64_t address);

// The same for the sweep over whole functions: only address, bytes, flow and target.
std::optional<Instruction> DecodeFlow(std::span<const uint8_t> code, uint64_t address);

// The class of the instruction that is all of `code`, if the kernel emulates its form; judged by
// the bytes alone, so that a claim about them can be checked without trusting who decoded them.
std::optional<ProbeClass> EmulatedForm(std::span<const uint8_t> code);

// In AT&T syntax, with absolute targets in hexadecimal: "je 0x98fb8". Empty when it is none.
std::string InstructionText(std::span<const uint8_t> code, uint64_t address);

}  // namespace hotpath
