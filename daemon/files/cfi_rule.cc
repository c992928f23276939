// From a row of the CFI table to the rule that the stack walk in BPF follows.
#include <limits>

#include "daemon/files/cfi.h"

namespace hotpath {
namespace {

constexpr uint8_t kRbx = 3;
constexpr uint8_t kRbp = 6;
constexpr uint8_t kRsp = 7;
constexpr uint8_t kLastRuleRegister = 15;

using Reg = CfiRegister::Kind;
using Val = CfiValue::Kind;

bool IsSame(const CfiRegister& reg) {
  return reg.kind == Reg::kUnspecified || reg.kind == Reg::kSame;
}

// Where a caller's rsp is not the CFA but a register (__longjmp), that register takes the CFA's
// place, which only a return address in a register survives.
hp_rule RuleWithStackInRegister(const CfiState& state) {
  hp_rule rule{};
  const CfiRegister& ra = state.return_address;
  if (ra.kind != Reg::kRegister || ra.offset != 0 || ra.reg > kLastRuleRegister ||
      state.rsp.reg > kLastRuleRegister) {
    return rule;
  }
  rule.cfa_kind = HP_CFA_REG;
  rule.cfa_reg = state.rsp.reg;
  rule.cfa_offset = state.rsp.offset;
  rule.ra = static_cast<uint8_t>(1 + ra.reg);
  rule.rbp_kind = IsSame(state.rbp) ? HP_RBP_SAME : HP_RBP_UNDEFINED;
  rule.rbx_kind = IsSame(state.rbx) ? HP_RBX_SAME : HP_RBX_UNDEFINED;
  return rule;
}

// False: it cannot be expressed.
bool SetReturnAddress(const CfiState& state, hp_rule& rule) {
  const CfiRegister& ra = state.return_address;
  switch (ra.kind) {
    case Reg::kAtCfa:
      return ra.offset == -8;
    case Reg::kAtRegister:
      return state.cfa.kind == Val::kRegister && state.cfa.reg == ra.reg &&
             int64_t{ra.offset} == int64_t{state.cfa.offset} - 8;
    case Reg::kRegister:
      if (ra.offset != 0 || ra.reg > kLastRuleRegister) return false;
      rule.ra = static_cast<uint8_t>(1 + ra.reg);
      return true;
    default:
      return false;
  }
}

void SetRbp(const CfiState& state, hp_rule& rule) {
  const CfiRegister& rbp = state.rbp;
  rule.rbp_kind = HP_RBP_UNDEFINED;
  switch (rbp.kind) {
    case Reg::kUnspecified:
    case Reg::kSame:
      rule.rbp_kind = HP_RBP_SAME;
      return;
    case Reg::kAtCfa:
      rule.rbp_kind = HP_RBP_CFA;
      rule.rbp_offset = rbp.offset;
      return;
    case Reg::kRegister:
      if (rbp.reg == kRbp && rbp.offset == 0) rule.rbp_kind = HP_RBP_SAME;
      return;
    case Reg::kAtRegister: {
      int32_t from_cfa = 0;
      if (rbp.reg == kRbp) {
        rule.rbp_kind = HP_RBP_DEREF_RBP;
        rule.rbp_offset = rbp.offset;
      } else if (state.cfa.kind == Val::kRegister && state.cfa.reg == rbp.reg &&
                 !__builtin_sub_overflow(rbp.offset, state.cfa.offset, &from_cfa)) {
        rule.rbp_kind = HP_RBP_CFA;
        rule.rbp_offset = from_cfa;
      }
      return;
    }
    default:
      return;
  }
}

// Frames save rbx close to their CFA, in whole words; what is saved elsewhere counts as lost.
void SetRbx(const CfiState& state, hp_rule& rule) {
  const CfiRegister& rbx = state.rbx;
  const bool cfa_is_register = state.cfa.kind == Val::kRegister;
  int64_t offset = rbx.offset;
  rule.rbx_kind = HP_RBX_UNDEFINED;
  switch (rbx.kind) {
    case Reg::kUnspecified:
    case Reg::kSame:
      rule.rbx_kind = HP_RBX_SAME;
      return;
    case Reg::kRegister:
      if (rbx.reg == kRbx && rbx.offset == 0) rule.rbx_kind = HP_RBX_SAME;
      return;
    case Reg::kAtCfa:
      rule.rbx_kind = HP_RBX_CFA;
      break;
    case Reg::kAtRegister:
      if (cfa_is_register && state.cfa.reg == rbx.reg) {
        rule.rbx_kind = HP_RBX_CFA;
        offset -= state.cfa.offset;
      } else if (rbx.reg == kRbp) {
        rule.rbx_kind = HP_RBX_RBP;
      } else {
        return;
      }
      break;
    default:
      return;
  }
  // Epilogues pop rbx and do not say so. What lies below the stack pointer has been popped.
  if (rule.rbx_kind == HP_RBX_CFA && cfa_is_register && state.cfa.reg == kRsp &&
      offset + state.cfa.offset < 0) {
    rule.rbx_kind = HP_RBX_SAME;
    return;
  }
  if (offset > 0 || offset % 8 != 0 || -offset / 8 > std::numeric_limits<uint8_t>::max()) {
    rule.rbx_kind = HP_RBX_UNDEFINED;
    return;
  }
  rule.rbx_words = static_cast<uint8_t>(-offset / 8);
}

}  // namespace

hp_rule RuleOf(const CfiState& state) {
  hp_rule rule{};
  if (state.return_address.kind == Reg::kUndefined) {
    rule.cfa_kind = HP_CFA_ROOT;
    return rule;
  }
  switch (state.rsp.kind) {
    case Reg::kUnspecified:
    case Reg::kSame:
    case Reg::kUndefined:
      break;
    case Reg::kCfaPlus:
      if (state.rsp.offset != 0) return rule;
      break;
    case Reg::kRegister:
      return RuleWithStackInRegister(state);
    default:
      return rule;
  }
  hp_rule found{};
  switch (state.cfa.kind) {
    case Val::kUnknown:
      return rule;
    case Val::kRegister:
      found.cfa_kind = HP_CFA_REG;
      break;
    case Val::kDeref:
      found.cfa_kind = HP_CFA_DEREF;
      break;
    case Val::kPlt:
      found.cfa_kind = HP_CFA_PLT;
      break;
  }
  found.cfa_reg = state.cfa.reg;
  found.cfa_offset = state.cfa.offset;
  if (state.cfa.add < std::numeric_limits<int16_t>::min() ||
      state.cfa.add > std::numeric_limits<int16_t>::max() || !SetReturnAddress(state, found)) {
    return rule;
  }
  found.cfa_add = static_cast<int16_t>(state.cfa.add);
  SetRbp(state, found);
  SetRbx(state, found);
  return found;
}

}  // namespace hotpath
