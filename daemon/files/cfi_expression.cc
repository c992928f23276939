// DWARF expressions in CFI: the few forms that compilers, linkers and assembly authors write.
#include <dwarf.h>

#include <array>
#include <limits>

#include "daemon/files/cfi.h"

namespace hotpath {
namespace {

constexpr uint8_t kRsp = 7;
constexpr uint8_t kRip = 16;

// Constants of every encoding become kConstant, so that a form has one spelling.
struct Operation {
  enum class Kind : uint8_t { kConstant, kRegister, kPlain };
  Kind kind;
  uint8_t code;   // kPlain: DW_OP_*. kRegister: DWARF number.
  int64_t value;  // kConstant; kRegister: the offset.
};

struct Operations {
  std::array<Operation, 12> list;
  size_t count = 0;
};

std::optional<int64_t> ReadConstant(uint8_t code, ByteReader& reader) {
  if (code >= DW_OP_lit0 && code <= DW_OP_lit31) return code - DW_OP_lit0;
  switch (code) {
    case DW_OP_const1u:
      return reader.U8();
    case DW_OP_const1s:
      return static_cast<int8_t>(reader.U8());
    case DW_OP_const2u:
      return reader.U16();
    case DW_OP_const2s:
      return static_cast<int16_t>(reader.U16());
    case DW_OP_const4u:
      return reader.U32();
    case DW_OP_const4s:
      return static_cast<int32_t>(reader.U32());
    case DW_OP_const8u:
    case DW_OP_const8s:
      return static_cast<int64_t>(reader.U64());
    case DW_OP_constu:
      return static_cast<int64_t>(reader.Uleb());
    case DW_OP_consts:
      return reader.Sleb();
    default:
      return std::nullopt;
  }
}

std::optional<Operations> ReadOperations(std::span<const uint8_t> expression) {
  ByteReader reader(expression);
  Operations found;
  const auto add = [&](Operation operation) { found.list[found.count++] = operation; };
  while (!reader.AtEnd()) {
    if (found.count + 2 > found.list.size()) return std::nullopt;
    const uint8_t code = reader.U8();
    if (code == DW_OP_nop) continue;
    if (const auto constant = ReadConstant(code, reader)) {
      add({Operation::Kind::kConstant, 0, *constant});
    } else if (code >= DW_OP_breg0 && code <= DW_OP_breg31) {
      const auto reg = static_cast<uint8_t>(code - DW_OP_breg0);
      add({Operation::Kind::kRegister, reg, reader.Sleb()});
    } else if (code == DW_OP_bregx) {
      const uint64_t reg = reader.Uleb();
      if (reg > kRip) return std::nullopt;
      add({Operation::Kind::kRegister, static_cast<uint8_t>(reg), reader.Sleb()});
    } else if (code == DW_OP_plus_uconst) {
      add({Operation::Kind::kConstant, 0, static_cast<int64_t>(reader.Uleb())});
      add({Operation::Kind::kPlain, DW_OP_plus, 0});
    } else {
      add({Operation::Kind::kPlain, code, 0});
    }
  }
  if (!reader.ok()) return std::nullopt;
  return found;
}

// rsp + 8 + ((rip & 15) >= N ? 1 : 0) << 3: what linkers write for .plt.
std::optional<int32_t> MatchPlt(const Operations& found) {
  using enum Operation::Kind;
  const auto is = [&](size_t i, Operation::Kind kind, uint8_t code, int64_t value) {
    const Operation& operation = found.list[i];
    return operation.kind == kind && operation.code == code && operation.value == value;
  };
  if (found.count != 9 || found.list[4].kind != kConstant) return std::nullopt;
  const int64_t threshold = found.list[4].value;
  const bool matches = is(0, kRegister, kRsp, 8) && is(1, kRegister, kRip, 0) &&
                       is(2, kConstant, 0, 15) && is(3, kPlain, DW_OP_and, 0) &&
                       is(5, kPlain, DW_OP_ge, 0) && is(6, kConstant, 0, 3) &&
                       is(7, kPlain, DW_OP_shl, 0) && is(8, kPlain, DW_OP_plus, 0);
  if (!matches || threshold < 0 || threshold > 16) return std::nullopt;
  return static_cast<int32_t>(threshold);
}

// A value on the stack: constant, place + offset, or *(place + offset) + add.
struct StackValue {
  enum class Kind : uint8_t { kConstant, kRegister, kDeref };
  Kind kind;
  uint8_t reg;
  int64_t offset;
  int64_t add;  // kConstant: the constant itself.
};

bool AddConstant(StackValue& value, int64_t constant) {
  int64_t& sum = value.kind == StackValue::Kind::kRegister ? value.offset : value.add;
  return !__builtin_add_overflow(sum, constant, &sum);
}

// False when the result is none of the forms.
bool Apply(uint8_t code, std::array<StackValue, 4>& stack, size_t& depth) {
  using enum StackValue::Kind;
  if (code == DW_OP_deref) {
    if (depth < 1 || stack[depth - 1].kind != kRegister) return false;
    stack[depth - 1].kind = kDeref;
    return true;
  }
  if (code != DW_OP_plus && code != DW_OP_minus) return false;
  if (depth < 2) return false;
  StackValue right = stack[depth - 1];
  StackValue left = stack[depth - 2];
  --depth;
  if (code == DW_OP_minus) {
    if (right.kind != kConstant || __builtin_sub_overflow(int64_t{0}, right.add, &right.add)) {
      return false;
    }
  }
  if (left.kind == kConstant) std::swap(left, right);
  if (right.kind != kConstant || !AddConstant(left, right.add)) return false;
  stack[depth - 1] = left;
  return true;
}

bool Fits(int64_t value) {
  return value >= std::numeric_limits<int32_t>::min() &&
         value <= std::numeric_limits<int32_t>::max();
}

}  // namespace

CfiValue ReadCfiExpression(std::span<const uint8_t> expression, bool on_cfa) {
  const auto found = ReadOperations(expression);
  if (!found) return {};
  if (const auto threshold = MatchPlt(*found)) {
    return {.kind = CfiValue::Kind::kPlt, .reg = kRsp, .offset = *threshold, .add = 0};
  }
  std::array<StackValue, 4> stack;
  size_t depth = 0;
  if (on_cfa) stack[depth++] = {StackValue::Kind::kRegister, CfiValue::kCfa, 0, 0};
  for (size_t i = 0; i < found->count; ++i) {
    const Operation& operation = found->list[i];
    if (operation.kind == Operation::Kind::kPlain) {
      if (!Apply(operation.code, stack, depth)) return {};
      continue;
    }
    if (depth == stack.size()) return {};
    if (operation.kind == Operation::Kind::kConstant) {
      stack[depth++] = {StackValue::Kind::kConstant, 0, 0, operation.value};
    } else {
      if (operation.code >= kRip) return {};
      stack[depth++] = {StackValue::Kind::kRegister, operation.code, operation.value, 0};
    }
  }
  if (depth == 0) return {};
  const StackValue& top = stack[depth - 1];
  if (top.kind == StackValue::Kind::kConstant || !Fits(top.offset) || !Fits(top.add)) return {};
  const bool deref = top.kind == StackValue::Kind::kDeref;
  return {.kind = deref ? CfiValue::Kind::kDeref : CfiValue::Kind::kRegister,
          .reg = top.reg,
          .offset = static_cast<int32_t>(top.offset),
          .add = static_cast<int32_t>(top.add)};
}

}  // namespace hotpath
