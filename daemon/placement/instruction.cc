// Zydis's view of an instruction, and the kernel's (arch/x86/kernel/uprobes.c) beside it.
#include "daemon/placement/instruction.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace hotpath {
namespace {

using Operands = std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT>;

const ZydisDecoder& Decoder() {
  static const ZydisDecoder decoder = [] {
    ZydisDecoder made;
    ZydisDecoderInit(&made, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return made;
  }();
  return decoder;
}

// The general register that `reg` is or is a part of.
std::optional<Register> GeneralOf(ZydisRegister reg) {
  const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
  if (whole < ZYDIS_REGISTER_RAX || whole > ZYDIS_REGISTER_R15) return std::nullopt;
  return static_cast<Register>(whole - ZYDIS_REGISTER_RAX);  // Both in machine code's order.
}

bool Is(Register reg, std::optional<Register> other) { return other && *other == reg; }

bool Writes(const ZydisDecodedOperand& operand) {
  return (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
}

bool IsRelative(const ZydisDecodedOperand& operand) {
  return operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operand.imm.is_relative != 0;
}

bool IsPlainSlot(const ZydisDecodedOperand& operand) {
  return operand.type == ZYDIS_OPERAND_TYPE_MEMORY && operand.mem.base == ZYDIS_REGISTER_RIP &&
         operand.mem.index == ZYDIS_REGISTER_NONE;
}

void ReadFlow(const ZydisDecodedInstruction& raw, const ZydisDecodedOperand& first,
              Instruction& out) {
  const bool relative = raw.operand_count > 0 && IsRelative(first);
  if (relative) out.target = out.address + raw.length + static_cast<uint64_t>(first.imm.value.s);
  switch (raw.meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
      out.flow = relative ? Flow::kBranch : Flow::kStop;
      return;
    case ZYDIS_CATEGORY_UNCOND_BR:
      out.flow = relative ? Flow::kJump : IsPlainSlot(first) ? Flow::kSlot : Flow::kAway;
      return;
    case ZYDIS_CATEGORY_CALL:
      out.flow = relative ? Flow::kCall : Flow::kAwayCall;
      return;
    case ZYDIS_CATEGORY_RET:
      out.flow = Flow::kReturn;
      return;
    case ZYDIS_CATEGORY_INTERRUPT:
    case ZYDIS_CATEGORY_SYSCALL:
    case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_SYSTEM:
    case ZYDIS_CATEGORY_VTX:
      out.flow = Flow::kStop;
      return;
    default:
      out.flow = raw.mnemonic == ZYDIS_MNEMONIC_UD0 || raw.mnemonic == ZYDIS_MNEMONIC_UD1 ||
                         raw.mnemonic == ZYDIS_MNEMONIC_UD2 || raw.mnemonic == ZYDIS_MNEMONIC_HLT ||
                         raw.mnemonic == ZYDIS_MNEMONIC_XBEGIN
                     ? Flow::kStop
                     : Flow::kNext;
  }
}

// Zydis's word for what EmulatedForm() saw in the bytes: both must say the same.
bool AgreesWithDecoder(const ZydisDecodedInstruction& raw, Flow flow) {
  return raw.mnemonic == ZYDIS_MNEMONIC_PUSH || raw.mnemonic == ZYDIS_MNEMONIC_NOP ||
         flow == Flow::kBranch || flow == Flow::kJump || flow == Flow::kCall;
}

// Instructions that are known to be safe to step out of line, and found at entries.
bool IsSteppable(const ZydisDecodedInstruction& raw) {
  static constexpr ZydisMnemonic kKnown[] = {
      ZYDIS_MNEMONIC_ENDBR64, ZYDIS_MNEMONIC_MOV,  ZYDIS_MNEMONIC_MOVZX, ZYDIS_MNEMONIC_MOVSXD,
      ZYDIS_MNEMONIC_LEA,     ZYDIS_MNEMONIC_TEST, ZYDIS_MNEMONIC_CMP,   ZYDIS_MNEMONIC_ADD,
      ZYDIS_MNEMONIC_SUB,     ZYDIS_MNEMONIC_AND,  ZYDIS_MNEMONIC_OR,    ZYDIS_MNEMONIC_XOR,
      ZYDIS_MNEMONIC_SHR,     ZYDIS_MNEMONIC_SHL,  ZYDIS_MNEMONIC_SAR,   ZYDIS_MNEMONIC_PUSH};
  return std::ranges::find(kKnown, raw.mnemonic) != std::end(kKnown);
}

void Classify(const ZydisDecodedInstruction& raw, std::span<const uint8_t> code, Instruction& out) {
  const auto emulated = EmulatedForm(code);
  if (emulated && AgreesWithDecoder(raw, out.flow)) {
    out.probe_class = *emulated;
    return;
  }
  const auto bad = [](uint8_t value) {  // The kernel's is_prefix_bad(): ES, CS, SS, DS, LOCK.
    return value == 0x26 || value == 0x2e || value == 0x36 || value == 0x3e || value == 0xf0;
  };
  for (ZyanU8 i = 0; i < raw.raw.prefix_count; ++i) {
    if (!bad(raw.raw.prefixes[i].value)) continue;
    out.refusal = "the kernel takes no probe on an instruction with such a prefix";
    return;
  }
  if (out.flow == Flow::kNext && IsSteppable(raw)) {
    out.probe_class = ProbeClass::kStepped;
  } else {
    out.refusal = "not one of the instructions that are known to be safe to probe";
  }
}

// "jz 0x1234" and "mov %rsi, %rax" as GNU's tools write them: "je 0x1234", "mov %rsi,%rax".
std::string AsDisassemblersWrite(std::string text) {
  static constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"jz ", "je "},   {"jnz ", "jne "}, {"jnb ", "jae "},
      {"jnbe ", "ja "}, {"jnl ", "jge "}, {"jnle ", "jg "}};
  for (const auto& [ours, theirs] : kNames) {
    if (text.starts_with(ours)) {
      text.replace(0, ours.size(), theirs);
      break;
    }
  }
  for (size_t at = text.find(", "); at != std::string::npos; at = text.find(", ", at)) {
    text.erase(at + 1, 1);
  }
  return text;
}

std::optional<int32_t> StackChange(const ZydisDecodedInstruction& raw, const Operands& operands) {
  constexpr int32_t kWord = 8;
  const bool wide = raw.operand_width == 64;
  if (raw.mnemonic == ZYDIS_MNEMONIC_PUSH && wide) return -kWord;
  if (raw.mnemonic == ZYDIS_MNEMONIC_POP && wide &&
      !(operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
        operands[0].reg.value == ZYDIS_REGISTER_RSP)) {
    return kWord;
  }
  const bool constant = operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
                        operands[0].reg.value == ZYDIS_REGISTER_RSP &&
                        operands[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE;
  if (!constant) return std::nullopt;
  const int64_t value = operands[1].imm.value.s;
  if (value < 0 || value > (1 << 20)) return std::nullopt;
  if (raw.mnemonic == ZYDIS_MNEMONIC_SUB) return static_cast<int32_t>(-value);
  if (raw.mnemonic == ZYDIS_MNEMONIC_ADD) return static_cast<int32_t>(value);
  return std::nullopt;
}

void ReadEffects(const ZydisDecodedInstruction& raw, const Operands& operands, Instruction& out) {
  for (size_t i = 0; i < raw.operand_count; ++i) {
    const ZydisDecodedOperand& operand = operands[i];
    if (!Writes(operand)) continue;
    if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY) {
      const bool stack = raw.mnemonic == ZYDIS_MNEMONIC_PUSH || raw.mnemonic == ZYDIS_MNEMONIC_CALL;
      out.writes_memory = out.writes_memory || !stack;
    } else if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) {
      if (const auto reg = GeneralOf(operand.reg.value)) {
        out.written |= static_cast<uint16_t>(1U << static_cast<unsigned>(*reg));
      }
    }
  }
  if ((out.written >> static_cast<unsigned>(Register::kRsp) & 1U) != 0) {
    out.sp_change = StackChange(raw, operands);
  }
  if (raw.mnemonic != ZYDIS_MNEMONIC_MOV || raw.operand_width != 64 ||
      operands[0].type != ZYDIS_OPERAND_TYPE_REGISTER ||
      operands[1].type != ZYDIS_OPERAND_TYPE_REGISTER) {
    return;
  }
  const auto to = GeneralOf(operands[0].reg.value);
  const auto from = GeneralOf(operands[1].reg.value);
  if (to && from && !Is(Register::kRsp, to) && !Is(Register::kRsp, from)) out.copy = {*to, *from};
}

}  // namespace

const char* NameOf(ProbeClass probe_class) {
  static constexpr const char* kNames[] = {"emulated", "nop", "stepped", "refused"};
  return kNames[static_cast<size_t>(probe_class)];
}

// How the bytes look to the kernel's branch_setup_xol_ops() and push_setup_xol_ops(), narrowed to
// forms without any prefix but REX.B of a push. 0x66 branches it refuses; 41 90 is an exchange that
// older kernels take for a nop.
std::optional<ProbeClass> EmulatedForm(std::span<const uint8_t> code) {
  const size_t bytes = code.size();
  if (bytes == 0) return std::nullopt;
  const uint8_t first = code[0];
  if (first == 0x90 && bytes == 1) return ProbeClass::kNop;
  const bool push = (first >= 0x50 && first <= 0x57 && bytes == 1) ||
                    (first == 0x41 && bytes == 2 && code[1] >= 0x50 && code[1] <= 0x57);
  const bool jump = (first == 0xeb && bytes == 2) || (first == 0xe9 && bytes == 5);
  const bool call = first == 0xe8 && bytes == 5;
  const bool near_branch = first >= 0x70 && first <= 0x7f && bytes == 2;
  const bool far_branch = first == 0x0f && bytes == 6 && code[1] >= 0x80 && code[1] <= 0x8f;
  if (push || jump || call || near_branch || far_branch) return ProbeClass::kEmulated;
  return std::nullopt;
}

std::optional<Instruction> DecodeInstruction(std::span<const uint8_t> code, uint64_t address) {
  ZydisDecodedInstruction raw;
  Operands operands{};
  if (!ZYAN_SUCCESS(
          ZydisDecoderDecodeFull(&Decoder(), code.data(), code.size(), &raw, operands.data()))) {
    return std::nullopt;
  }
  Instruction out;
  out.address = address;
  out.bytes = raw.length;
  out.is_landing_pad = raw.mnemonic == ZYDIS_MNEMONIC_ENDBR64;
  ReadFlow(raw, operands[0], out);
  ReadEffects(raw, operands, out);
  Classify(raw, code.first(raw.length), out);
  return out;
}

std::optional<Instruction> DecodeFlow(std::span<const uint8_t> code, uint64_t address) {
  ZydisDecodedInstruction raw;
  ZydisDecoderContext context;
  ZydisDecodedOperand first{};
  if (!ZYAN_SUCCESS(
          ZydisDecoderDecodeInstruction(&Decoder(), &context, code.data(), code.size(), &raw))) {
    return std::nullopt;
  }
  Instruction out;
  out.address = address;
  out.bytes = raw.length;
  if (raw.operand_count > 0 &&
      !ZYAN_SUCCESS(ZydisDecoderDecodeOperands(&Decoder(), &context, &raw, &first, 1))) {
    return std::nullopt;
  }
  ReadFlow(raw, first, out);
  return out;
}

std::string InstructionText(std::span<const uint8_t> code, uint64_t address) {
  static const ZydisFormatter formatter = [] {
    ZydisFormatter made;
    ZydisFormatterInit(&made, ZYDIS_FORMATTER_STYLE_ATT);
    ZydisFormatterSetProperty(&made, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
    ZydisFormatterSetProperty(&made, ZYDIS_FORMATTER_PROP_ADDR_PADDING_ABSOLUTE,
                              ZYDIS_PADDING_DISABLED);
    return made;
  }();
  ZydisDecodedInstruction raw;
  Operands operands{};
  std::array<char, 128> text{};
  if (!ZYAN_SUCCESS(
          ZydisDecoderDecodeFull(&Decoder(), code.data(), code.size(), &raw, operands.data())) ||
      !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter, &raw, operands.data(),
                                                    raw.operand_count_visible, text.data(),
                                                    text.size(), address, nullptr))) {
    return {};
  }
  return AsDisassemblersWrite(text.data());
}

}  // namespace hotpath
