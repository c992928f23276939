// The CFI interpreter: instructions change a state, each advance of the location ends a row.
#include "daemon/files/cfi.h"

#include <dwarf.h>

#include <limits>

namespace hotpath {
namespace {

constexpr uint64_t kRbx = 3;
constexpr uint64_t kRbp = 6;
constexpr uint64_t kRsp = 7;
constexpr uint8_t kLastRuleRegister = 15;

using Reg = CfiRegister::Kind;
using Val = CfiValue::Kind;

CfiRegister Narrow(Reg kind, uint64_t reg, int64_t offset) {
  if (reg > kLastRuleRegister || offset < std::numeric_limits<int32_t>::min() ||
      offset > std::numeric_limits<int32_t>::max()) {
    return {.kind = Reg::kUnsupported};
  }
  return {kind, static_cast<uint8_t>(reg), static_cast<int32_t>(offset)};
}

CfiRegister FromExpression(std::span<const uint8_t> expression, bool is_value) {
  const CfiValue value = ReadCfiExpression(expression, true);
  if (value.kind != Val::kRegister) return {.kind = Reg::kUnsupported};
  if (value.reg == CfiValue::kCfa) {
    return {is_value ? Reg::kCfaPlus : Reg::kAtCfa, 0, value.offset};
  }
  return {is_value ? Reg::kRegister : Reg::kAtRegister, value.reg, value.offset};
}

// One run of a program. Multiplications wrap as unsigned ones: factors are foreign.
class Interpreter {
 public:
  Interpreter(const Cie& cie, const PointerBases& bases, ByteReader reader)
      : cie_(cie), bases_(bases), reader_(reader), state_(cie.initial) {}

  // Until the end, or `end` is reached. `rows` may be null: then the location may not move.
  bool Run(uint64_t start, uint64_t end, size_t max_instructions, std::vector<CfiRow>* rows);
  const CfiState& state() const { return state_; }

 private:
  bool Step(uint8_t code);
  bool StepRegister(uint8_t code);
  bool StepCfa(uint8_t code);
  void Advance(uint64_t units) { next_ = location_ + units * cie_.code_alignment; }
  int64_t Factored(uint64_t value) const {
    return static_cast<int64_t>(value * static_cast<uint64_t>(cie_.data_alignment));
  }
  // The register `reg` of `state`; null when no rule asks for it.
  template <typename State>
  auto Find(uint64_t reg, State& state) const -> decltype(&state.rbx) {
    if (reg == cie_.return_register) return &state.return_address;
    switch (reg) {
      case kRbx:
        return &state.rbx;
      case kRbp:
        return &state.rbp;
      case kRsp:
        return &state.rsp;
      default:
        return nullptr;
    }
  }
  void Set(uint64_t reg, CfiRegister rule) {
    if (CfiRegister* found = Find(reg, state_)) *found = rule;
  }
  void Restore(uint64_t reg) {
    if (CfiRegister* found = Find(reg, state_)) *found = *Find(reg, cie_.initial);
  }
  void SetCfa(uint64_t reg, int64_t offset) {
    const CfiRegister narrow = Narrow(Reg::kRegister, reg, offset);
    state_.cfa = {.kind = narrow.kind == Reg::kUnsupported ? Val::kUnknown : Val::kRegister,
                  .reg = narrow.reg,
                  .offset = narrow.offset,
                  .add = 0};
  }

  // Only a register and an offset can be changed one at a time; an expression cannot.
  void ChangeCfa(uint64_t reg, int64_t offset) {
    if (state_.cfa.kind == Val::kRegister) {
      SetCfa(reg, offset);
    } else {
      state_.cfa = {};
    }
  }

  const Cie& cie_;
  const PointerBases& bases_;
  ByteReader reader_;
  CfiState state_;
  std::vector<CfiState> remembered_;  // At most kMaxRememberedStates.
  uint64_t location_ = 0;
  uint64_t next_ = 0;  // Where the instruction just run moved the location.
};

bool Interpreter::Run(uint64_t start, uint64_t end, size_t max_instructions,
                      std::vector<CfiRow>* rows) {
  location_ = next_ = start;
  for (size_t count = 0; !reader_.AtEnd(); ++count) {
    if (count >= max_instructions) return false;
    const uint8_t code = reader_.U8();
    const uint8_t low = code & 0x3f;
    switch (code & 0xc0) {
      case DW_CFA_advance_loc:
        Advance(low);
        break;
      case DW_CFA_offset:
        Set(low, Narrow(Reg::kAtCfa, 0, Factored(reader_.Uleb())));
        break;
      case DW_CFA_restore:
        Restore(low);
        break;
      default:
        if (!Step(code)) return false;
    }
    if (!reader_.ok() || next_ < location_) return false;
    if (next_ == location_) continue;
    if (rows == nullptr || rows->size() >= kMaxRowsOfFunction) return false;
    rows->push_back({location_, RuleOf(state_)});
    location_ = next_;
    if (location_ >= end) return true;
  }
  if (rows != nullptr) rows->push_back({location_, RuleOf(state_)});
  return true;
}

// Whatever has its operands in the following bytes. False: malformed or unknown.
bool Interpreter::Step(uint8_t code) {
  switch (code) {
    case DW_CFA_nop:
      return true;
    case DW_CFA_set_loc: {
      const auto address = ReadPointer(reader_, cie_.pointer_encoding, bases_);
      if (!address) return false;
      next_ = *address;
      return true;
    }
    case DW_CFA_advance_loc1:
      Advance(reader_.U8());
      return true;
    case DW_CFA_advance_loc2:
      Advance(reader_.U16());
      return true;
    case DW_CFA_advance_loc4:
      Advance(reader_.U32());
      return true;
    case DW_CFA_MIPS_advance_loc8:
      Advance(reader_.U64());
      return true;
    case DW_CFA_remember_state:
      if (remembered_.size() >= kMaxRememberedStates) return false;
      remembered_.push_back(state_);
      return true;
    case DW_CFA_restore_state:
      if (remembered_.empty()) return false;
      state_ = remembered_.back();
      remembered_.pop_back();
      return true;
    case DW_CFA_GNU_args_size:
      reader_.Uleb();
      return true;
    default:
      return StepCfa(code);
  }
}

bool Interpreter::StepCfa(uint8_t code) {
  switch (code) {
    case DW_CFA_def_cfa: {
      const uint64_t reg = reader_.Uleb();
      SetCfa(reg, static_cast<int64_t>(reader_.Uleb()));
      return true;
    }
    case DW_CFA_def_cfa_sf: {
      const uint64_t reg = reader_.Uleb();
      SetCfa(reg, Factored(static_cast<uint64_t>(reader_.Sleb())));
      return true;
    }
    case DW_CFA_def_cfa_register:
      ChangeCfa(reader_.Uleb(), state_.cfa.offset);
      return true;
    case DW_CFA_def_cfa_offset:
      ChangeCfa(state_.cfa.reg, static_cast<int64_t>(reader_.Uleb()));
      return true;
    case DW_CFA_def_cfa_offset_sf:
      ChangeCfa(state_.cfa.reg, Factored(static_cast<uint64_t>(reader_.Sleb())));
      return true;
    case DW_CFA_def_cfa_expression:
      state_.cfa = ReadCfiExpression(reader_.Take(reader_.Uleb()), false);
      return true;
    default:
      return StepRegister(code);
  }
}

bool Interpreter::StepRegister(uint8_t code) {
  const uint64_t reg = reader_.Uleb();
  switch (code) {
    case DW_CFA_offset_extended:
      Set(reg, Narrow(Reg::kAtCfa, 0, Factored(reader_.Uleb())));
      return true;
    case DW_CFA_offset_extended_sf:
      Set(reg, Narrow(Reg::kAtCfa, 0, Factored(static_cast<uint64_t>(reader_.Sleb()))));
      return true;
    case DW_CFA_GNU_negative_offset_extended:
      Set(reg, Narrow(Reg::kAtCfa, 0, Factored(0 - reader_.Uleb())));
      return true;
    case DW_CFA_val_offset:
      Set(reg, Narrow(Reg::kCfaPlus, 0, Factored(reader_.Uleb())));
      return true;
    case DW_CFA_val_offset_sf:
      Set(reg, Narrow(Reg::kCfaPlus, 0, Factored(static_cast<uint64_t>(reader_.Sleb()))));
      return true;
    case DW_CFA_restore_extended:
      Restore(reg);
      return true;
    case DW_CFA_undefined:
      Set(reg, {.kind = Reg::kUndefined});
      return true;
    case DW_CFA_same_value:
      Set(reg, {.kind = Reg::kSame});
      return true;
    case DW_CFA_register:
      Set(reg, Narrow(Reg::kRegister, reader_.Uleb(), 0));
      return true;
    case DW_CFA_expression:
      Set(reg, FromExpression(reader_.Take(reader_.Uleb()), false));
      return true;
    case DW_CFA_val_expression:
      Set(reg, FromExpression(reader_.Take(reader_.Uleb()), true));
      return true;
    default:
      return false;
  }
}

}  // namespace

std::optional<uint64_t> ReadPointer(ByteReader& reader, uint8_t encoding,
                                    const PointerBases& bases) {
  if (encoding == kPointerOmitted) return std::nullopt;
  constexpr uint8_t kFormat = 0x0f, kRelation = 0x70;
  if ((encoding & kRelation) == DW_EH_PE_aligned) {
    const uint64_t address = bases.section + reader.position();
    reader.Skip((8 - address % 8) % 8);
    const uint64_t value = reader.U64();
    return reader.ok() ? std::optional(value) : std::nullopt;
  }
  uint64_t base = 0;
  switch (encoding & kRelation) {
    case 0:
      break;
    case DW_EH_PE_pcrel:
      base = bases.section + reader.position();
      break;
    case DW_EH_PE_textrel:
      if (!bases.text) return std::nullopt;
      base = *bases.text;
      break;
    case DW_EH_PE_datarel:
      if (!bases.data) return std::nullopt;
      base = *bases.data;
      break;
    default:
      return std::nullopt;
  }
  uint64_t value = 0;
  switch (encoding & kFormat) {
    case DW_EH_PE_absptr:
    case DW_EH_PE_udata8:
    case DW_EH_PE_sdata8:
    case DW_EH_PE_signed:
      value = reader.U64();
      break;
    case DW_EH_PE_uleb128:
      value = reader.Uleb();
      break;
    case DW_EH_PE_sleb128:
      value = static_cast<uint64_t>(reader.Sleb());
      break;
    case DW_EH_PE_udata2:
      value = reader.U16();
      break;
    case DW_EH_PE_sdata2:
      value = static_cast<uint64_t>(int64_t{static_cast<int16_t>(reader.U16())});
      break;
    case DW_EH_PE_udata4:
      value = reader.U32();
      break;
    case DW_EH_PE_sdata4:
      value = static_cast<uint64_t>(int64_t{static_cast<int32_t>(reader.U32())});
      break;
    default:
      return std::nullopt;
  }
  if (!reader.ok()) return std::nullopt;
  return base + value;
}

bool RunInitialInstructions(ByteReader instructions, const PointerBases& bases, Cie& cie) {
  cie.initial = {};
  Interpreter interpreter(cie, bases, instructions);
  if (!interpreter.Run(0, 0, kMaxCieInstructions, nullptr)) return false;
  cie.initial = interpreter.state();
  return true;
}

bool RunInstructions(const Cie& cie, ByteReader instructions, const PointerBases& bases,
                     uint64_t start, uint64_t end, std::vector<CfiRow>& rows) {
  rows.clear();
  if (cie.signal) {
    // The kernel built the frame: wherever the program counter is, the ucontext has it all.
    CfiRow row{.address = start, .rule = {}};
    row.rule.cfa_kind = HP_CFA_SIGNAL;
    rows.push_back(row);
    return true;
  }
  Interpreter interpreter(cie, bases, instructions);
  return interpreter.Run(start, end, std::numeric_limits<size_t>::max(), &rows);
}

}  // namespace hotpath
