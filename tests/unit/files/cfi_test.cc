// The CFI interpreter, instruction by instruction: bytes in, rules out.
#include "daemon/files/cfi.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cfi_image.h"
#include "daemon/files/unwind_table.h"

namespace hotpath {
namespace {

constexpr uint64_t kStart = CfiImage::kCode, kEnd = kStart + 0x1000;

std::string Text(const hp_rule& rule) {
  std::string text;
  switch (rule.cfa_kind) {
    case HP_CFA_NONE:
      return "none";
    case HP_CFA_SIGNAL:
      return "signal";
    case HP_CFA_ROOT:
      return "root";
    case HP_CFA_REG:
      text = fmt::format("r{}{:+}", rule.cfa_reg, rule.cfa_offset);
      break;
    case HP_CFA_DEREF:
      text = fmt::format("*(r{}{:+}){:+}", rule.cfa_reg, rule.cfa_offset, rule.cfa_add);
      break;
    case HP_CFA_PLT:
      text = fmt::format("plt {}", rule.cfa_offset);
      break;
    default:
      return "?";
  }
  if (rule.rbp_kind == HP_RBP_CFA) text += fmt::format(", rbp at cfa{:+}", rule.rbp_offset);
  if (rule.rbp_kind == HP_RBP_DEREF_RBP) text += fmt::format(", rbp at rbp{:+}", rule.rbp_offset);
  if (rule.rbp_kind == HP_RBP_UNDEFINED) text += ", rbp lost";
  if (rule.rbx_kind == HP_RBX_CFA) text += fmt::format(", rbx at cfa-{}", 8 * rule.rbx_words);
  if (rule.rbx_kind == HP_RBX_RBP) text += fmt::format(", rbx at rbp-{}", 8 * rule.rbx_words);
  if (rule.rbx_kind == HP_RBX_UNDEFINED) text += ", rbx lost";
  if (rule.ra != 0) text += fmt::format(", ra in r{}", rule.ra - 1);
  return text;
}

// The usual CIE: CFA = rsp + 8, return address at CFA - 8.
Cie UsualCie() {
  Cie cie;
  cie.data_alignment = -8;
  const Bytes initial = {0x0c, 7, 8, 0x90, 1};
  EXPECT_TRUE(RunInitialInstructions(ByteReader(initial), {}, cie));
  return cie;
}

// "offset: rule; ..." of each row; "malformed".
std::string RowsOf(const Bytes& instructions, const Cie& cie = UsualCie()) {
  std::vector<CfiRow> rows;
  if (!RunInstructions(cie, ByteReader(instructions), {}, kStart, kEnd, rows)) return "malformed";
  std::string text;
  for (const CfiRow& row : rows) {
    text +=
        fmt::format("{}{:x}: {}", text.empty() ? "" : "; ", row.address - kStart, Text(row.rule));
  }
  return text;
}

Bytes CfaExpression(const Bytes& expression) {
  return Bytes{0x0f} + Uleb(expression.size()) + expression;
}

struct Case {
  const char* name;
  Bytes instructions;
  const char* rows;
};
void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

class CfiInstruction : public testing::TestWithParam<Case> {};

TEST_P(CfiInstruction, GivesTheRows) {
  EXPECT_EQ(RowsOf(GetParam().instructions), GetParam().rows);
}

const Bytes kPushRbp = {0x0e, 16, 0x86, 2};  // CFA = rsp + 16, rbp at CFA - 16.

INSTANTIATE_TEST_SUITE_P(
    Cfi, CfiInstruction,
    testing::Values(
        Case{"nothing", {}, "0: r7+8"}, Case{"nop", {0, 0, 0}, "0: r7+8"},
        Case{"advance_loc", {0x45, 0x0e, 16}, "0: r7+8; 5: r7+16"},
        Case{"advance_loc_of_0", {0x40, 0x0e, 16}, "0: r7+16"},
        Case{"advance_loc1", {0x02, 0xc8, 0x0e, 16}, "0: r7+8; c8: r7+16"},
        Case{"advance_loc2", {0x03, 0x34, 0x02, 0x0e, 16}, "0: r7+8; 234: r7+16"},
        Case{"advance_loc4", {0x04, 0x01, 0x02, 0, 0, 0x0e, 16}, "0: r7+8; 201: r7+16"},
        Case{"advance_loc8", {0x1d, 9, 0, 0, 0, 0, 0, 0, 0, 0x0e, 16}, "0: r7+8; 9: r7+16"},
        Case{"advance_past_the_end", {0x03, 0x00, 0x10, 0x0e, 16, 0x3f}, "0: r7+8"},
        Case{"advance_that_wraps", Bytes{0x1d} + Bytes(8, 0xff), "malformed"},
        Case{"set_loc", Bytes{0x01} + Number(kStart + 0x20) + Bytes{0x0e, 16},
             "0: r7+8; 20: r7+16"},
        Case{"set_loc_backwards", Bytes{0x01} + Number(kStart - 1), "malformed"},
        Case{"offset_of_rbp", kPushRbp, "0: r7+16, rbp at cfa-16"},
        Case{"offset_of_others", {0x81, 3, 0x8c, 4, 0x8f, 5}, "0: r7+8"},
        Case{"offset_extended", {0x05, 6, 2}, "0: r7+8, rbp at cfa-16"},
        Case{"offset_extended_sf", {0x11, 6, 0x7e}, "0: r7+8, rbp at cfa+16"},
        Case{"negative_offset_extended", {0x2f, 6, 2}, "0: r7+8, rbp at cfa+16"},
        Case{"return_address_elsewhere", {0x90, 2}, "0: none"},
        Case{"return_address_by_offset_extended", {0x90, 2, 0x05, 16, 1}, "0: r7+8"},
        Case{"restore", Bytes(kPushRbp) + Bytes{0x41, 0xc6}, "0: r7+16, rbp at cfa-16; 1: r7+16"},
        Case{"restore_extended", Bytes(kPushRbp) + Bytes{0x41, 0x06, 6},
             "0: r7+16, rbp at cfa-16; 1: r7+16"},
        Case{"remember_and_restore_state", Bytes{0x0a} + kPushRbp + Bytes{0x41, 0x0b},
             "0: r7+16, rbp at cfa-16; 1: r7+8"},
        Case{"restore_state_too_often", {0x0a, 0x0b, 0x0b}, "malformed"},
        Case{"remember_state_64_times", Bytes(64, 0x0a), "0: r7+8"},
        Case{"remember_state_65_times", Bytes(65, 0x0a), "malformed"},
        Case{"undefined_rbp", {0x07, 6}, "0: r7+8, rbp lost"},
        Case{"undefined_return_address", {0x07, 16}, "0: root"},
        Case{"undefined_others", {0x07, 12, 0x07, 40}, "0: r7+8"},
        Case{"same_value_of_rbp", Bytes(kPushRbp) + Bytes{0x41, 0x08, 6},
             "0: r7+16, rbp at cfa-16; 1: r7+16"},
        Case{"same_value_of_return_address", {0x08, 16}, "0: none"},
        Case{"return_address_in_a_register", {0x09, 16, 5}, "0: r7+8, ra in r5"},
        Case{"rbp_in_a_register", {0x09, 6, 9}, "0: r7+8, rbp lost"},
        Case{"rbp_in_itself", {0x09, 6, 6}, "0: r7+8"},
        Case{"longjmp",
             {0x0c, 5, 0, 0x09, 7, 8, 0x09, 6, 9, 0x09, 16, 1},
             "0: r8+0, rbp lost, ra in r1"},
        Case{"stack_in_a_register_with_return_address_in_memory", {0x09, 7, 8}, "0: none"},
        Case{"stack_saved_in_memory", {0x87, 2}, "0: none"},
        Case{"stack_is_the_cfa", {0x14, 7, 0}, "0: r7+8"},
        Case{"stack_is_not_the_cfa", {0x14, 7, 1}, "0: none"},
        Case{"def_cfa", {0x0c, 12, 0xf0, 0x01}, "0: r12+240"},
        Case{"def_cfa_of_rip", {0x0c, 16, 8}, "0: none"},
        Case{"def_cfa_too_far", Bytes{0x0c, 7} + Uleb(uint64_t{1} << 31), "0: none"},
        Case{"def_cfa_as_far_as_it_goes", Bytes{0x0c, 7} + Uleb(INT32_MAX), "0: r7+2147483647"},
        Case{"def_cfa_sf", {0x12, 6, 0x7e}, "0: r6+16"},
        Case{"def_cfa_register", {0x0e, 16, 0x0d, 6}, "0: r6+16"},
        Case{"def_cfa_offset", {0x0e, 0x80, 0x02}, "0: r7+256"},
        Case{"def_cfa_offset_sf", {0x13, 0x70}, "0: r7+128"},
        Case{"def_cfa_offset_of_an_expression", CfaExpression({0x76, 0x78, 0x06}) + Bytes{0x0e, 16},
             "0: none"},
        Case{"args_size", {0x2e, 16, 0x0e, 16}, "0: r7+16"},
        Case{"val_offset_of_rbp", {0x14, 6, 2}, "0: r7+8, rbp lost"},
        Case{"val_offset_of_return_address", {0x14, 16, 1}, "0: none"},
        Case{"val_offset_sf_of_others", {0x15, 12, 0x7e}, "0: r7+8"},
        Case{"plt", CfaExpression({0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22}),
             "0: plt 11"},
        Case{"plt_of_lld",
             CfaExpression({0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3a, 0x2a, 0x33, 0x24, 0x22}),
             "0: plt 10"},
        Case{"plt_with_long_constants",
             CfaExpression({0x77, 8, 0x80, 0, 0x08, 15, 0x1a, 0x08, 11, 0x2a, 0x33, 0x24, 0x22}),
             "0: plt 11"},
        Case{"almost_plt",
             CfaExpression({0x77, 8, 0x80, 0, 0x3e, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22}),
             "0: none"},
        Case{"deref", CfaExpression({0x76, 0x78, 0x06}), "0: *(r6-8)+0"},
        Case{"deref_plus_uconst", CfaExpression({0x77, 0xd8, 0, 0x06, 0x23, 8}), "0: *(r7+88)+8"},
        Case{"deref_const_plus", CfaExpression({0x7a, 16, 0x06, 0x08, 64, 0x22}),
             "0: *(r10+16)+64"},
        Case{"deref_const_minus", CfaExpression({0x7a, 16, 0x06, 0x38, 0x1c}), "0: *(r10+16)-8"},
        Case{"plain_register", CfaExpression({0x77, 16}), "0: r7+16"},
        Case{"register_plus_uconst", CfaExpression({0x7a, 0, 0x23, 8}), "0: r10+8"},
        Case{"bregx", CfaExpression({0x92, 12, 16, 0x96}), "0: r12+16"},
        Case{"two_registers", CfaExpression({0x77, 8, 0x79, 0, 0x22}), "0: none"},
        Case{"constant", CfaExpression({0x08, 64}), "0: none"},
        Case{"double_deref", CfaExpression({0x77, 8, 0x06, 0x06}), "0: none"},
        Case{"plus_on_nothing", CfaExpression({0x22}), "0: none"},
        Case{"empty_expression", CfaExpression({}), "0: none"},
        Case{"cut_expression", CfaExpression({0x77}), "0: none"},
        Case{"long_expression", CfaExpression(Bytes{0x77, 8} + Bytes(20, 0x30)), "0: none"},
        Case{"expression_past_the_end", {0x0f, 5, 0x77, 8}, "malformed"},
        Case{"rbp_at_rbp", Bytes{0x10, 6, 2, 0x76, 0} + CfaExpression({0x76, 0x78, 0x06}),
             "0: *(r6-8)+0, rbp at rbp+0"},
        Case{"rbp_at_cfa_by_expression", {0x10, 6, 2, 0x23, 0x70}, "0: r7+8, rbp at cfa+112"},
        Case{
            "rbp_at_rsp_by_expression", {0x0e, 32, 0x10, 6, 2, 0x77, 8}, "0: r7+32, rbp at cfa-24"},
        Case{"rbp_at_another_register", {0x10, 6, 2, 0x7a, 0}, "0: r7+8, rbp lost"},
        Case{"rbp_by_two_derefs", {0x10, 6, 3, 0x76, 0, 0x06}, "0: r7+8, rbp lost"},
        Case{"return_address_at_rsp_by_expression", {0x10, 16, 2, 0x77, 0}, "0: r7+8"},
        Case{"return_address_at_another_place", {0x10, 16, 2, 0x77, 8}, "0: none"},
        Case{"return_address_by_val_expression", {0x16, 16, 2, 0x7b, 0}, "0: r7+8, ra in r11"},
        Case{"rbp_by_val_expression", {0x16, 6, 2, 0x76, 8}, "0: r7+8, rbp lost"},
        Case{"rbp_unchanged_by_val_expression", {0x16, 6, 2, 0x76, 0}, "0: r7+8"},
        Case{"expression_of_others", {0x10, 12, 2, 0x77, 8, 0x16, 40, 1, 0x30}, "0: r7+8"},
        Case{"offset_of_rbx",
             {0x0e, 24, 0x86, 2, 0x83, 3},
             "0: r7+24, rbp at cfa-16, rbx at cfa-24"},
        Case{"rbx_by_another_cfa", {0x0c, 6, 16, 0x83, 3}, "0: r6+16, rbx at cfa-24"},
        Case{"rbx_after_its_pop",
             {0x0e, 16, 0x83, 2, 0x41, 0x0e, 8},
             "0: r7+16, rbx at cfa-16; 1: r7+8"},
        Case{
            "restore_of_rbx", {0x0e, 16, 0x83, 2, 0x41, 0xc3}, "0: r7+16, rbx at cfa-16; 1: r7+16"},
        Case{"remember_and_restore_state_with_rbx",
             {0x0a, 0x0e, 16, 0x83, 2, 0x41, 0x0b},
             "0: r7+16, rbx at cfa-16; 1: r7+8"},
        Case{"rbx_as_far_as_it_goes", Bytes{0x0c, 6, 16, 0x83} + Uleb(255),
             "0: r6+16, rbx at cfa-2040"},
        Case{"rbx_too_far", Bytes{0x0c, 6, 16, 0x83} + Uleb(256), "0: r6+16, rbx lost"},
        Case{"rbx_above_the_cfa", {0x11, 3, 0x7e}, "0: r7+8, rbx lost"},
        Case{"rbx_at_no_whole_word", {0x0c, 6, 16, 0x10, 3, 2, 0x23, 0x04}, "0: r6+16, rbx lost"},
        Case{"undefined_rbx", {0x07, 3}, "0: r7+8, rbx lost"},
        Case{"same_value_of_rbx", {0x0e, 16, 0x83, 2, 0x08, 3}, "0: r7+16"},
        Case{"rbx_in_a_register", {0x09, 3, 9}, "0: r7+8, rbx lost"},
        Case{"rbx_in_itself", {0x09, 3, 3}, "0: r7+8"},
        Case{"val_offset_of_rbx", {0x14, 3, 2}, "0: r7+8, rbx lost"},
        Case{"rbx_at_rbp", Bytes{0x10, 3, 2, 0x76, 0x70} + CfaExpression({0x76, 0x78, 0x06}),
             "0: *(r6-8)+0, rbx at rbp-16"},
        Case{"rbx_at_rbp_that_leads_to_the_cfa",
             {0x0c, 6, 16, 0x10, 3, 2, 0x76, 0x78},
             "0: r6+16, rbx at cfa-24"},
        Case{
            "rbx_at_rsp_by_expression", {0x0e, 32, 0x10, 3, 2, 0x77, 8}, "0: r7+32, rbx at cfa-24"},
        Case{"rbx_at_another_register", {0x10, 3, 2, 0x7a, 0}, "0: r7+8, rbx lost"},
        Case{"cfa_by_rbx", {0x0c, 3, 24, 0x83, 3}, "0: r3+24, rbx at cfa-24"},
        Case{"longjmp_that_keeps_rbx_elsewhere",
             {0x0c, 5, 0, 0x09, 7, 8, 0x09, 3, 9, 0x09, 16, 1},
             "0: r8+0, rbx lost, ra in r1"},
        Case{"deref_plus_too_much", CfaExpression(Bytes{0x77, 8, 0x06, 0x23} + Uleb(32768)),
             "0: none"},
        Case{"deref_plus_as_much_as_it_goes",
             CfaExpression(Bytes{0x77, 8, 0x06, 0x23} + Uleb(32767)), "0: *(r7+8)+32767"},
        Case{"unknown_instruction", {0x1c, 0}, "malformed"},
        Case{"cut_instruction", {0x45, 0x0e}, "malformed"}),
    [](const auto& one) { return std::string(one.param.name); });

TEST(Cfi, MultipliesAdvancesByTheCodeAlignment) {
  Cie cie = UsualCie();
  cie.code_alignment = 4;
  EXPECT_EQ(RowsOf({0x43, 0x0e, 16}, cie), "0: r7+8; c: r7+16");
}

TEST(Cfi, GivesASignalFrameOneRuleWhateverItsInstructionsSay) {
  Cie cie = UsualCie();
  cie.signal = true;
  EXPECT_EQ(RowsOf({0x45, 0x0f, 3, 0x77, 0xa0, 0x06, 0x3f}, cie), "0: signal");
}

TEST(Cfi, RefusesACieThatMovesTheLocationOrNeverEnds) {
  Cie cie;
  const Bytes moves = {0x41};
  EXPECT_FALSE(RunInitialInstructions(ByteReader(moves), {}, cie));
  EXPECT_TRUE(RunInitialInstructions(ByteReader(Bytes(kMaxCieInstructions, 0)), {}, cie));
  EXPECT_FALSE(RunInitialInstructions(ByteReader(Bytes(kMaxCieInstructions + 1, 0)), {}, cie));
}

TEST(Cfi, HasNoRuleWhereTheCieSaysNothingOfTheReturnAddress) {
  Cie cie;
  const Bytes initial = {0x0c, 7, 8};
  ASSERT_TRUE(RunInitialInstructions(ByteReader(initial), {}, cie));
  EXPECT_EQ(RowsOf({}, cie), "0: none");
}

TEST(Cfi, ReadsPointersOfEveryEncoding) {
  const PointerBases bases{.section = 0x1000, .text = 0x20000, .data = 0x30000};
  const auto read = [&](uint8_t encoding, const Bytes& bytes) {
    ByteReader reader(bytes);
    reader.U8();  // So that the pointer is at 0x1001.
    return ReadPointer(reader, encoding, bases);
  };
  const Bytes one = {0xff, 0xf0, 0xff, 0xff, 0xff, 0, 0, 0, 0};
  EXPECT_EQ(read(0x00, one), 0xfffffff0);                          // absptr
  EXPECT_EQ(read(0x01, {0xff, 0x85, 0x01}), 0x85);                 // uleb128
  EXPECT_EQ(read(0x02, one), 0xfff0);                              // udata2
  EXPECT_EQ(read(0x03, one), 0xfffffff0);                          // udata4
  EXPECT_EQ(read(0x04, one), 0xfffffff0);                          // udata8
  EXPECT_EQ(read(0x08, one), 0xfffffff0);                          // signed
  EXPECT_EQ(read(0x09, {0xff, 0x70}), uint64_t(-16));              // sleb128
  EXPECT_EQ(read(0x0a, one), uint64_t(-16));                       // sdata2
  EXPECT_EQ(read(0x0b, one), uint64_t(-16));                       // sdata4
  EXPECT_EQ(read(0x0c, one), 0xfffffff0);                          // sdata8
  EXPECT_EQ(read(0x1b, one), 0x1001 - 16);                         // pcrel
  EXPECT_EQ(read(0x2b, one), 0x20000 - 16);                        // textrel
  EXPECT_EQ(read(0x3b, one), 0x30000 - 16);                        // datarel
  EXPECT_EQ(read(0x9b, one), 0x1001 - 16);                         // indirect: where it is stored
  EXPECT_EQ(read(0x4b, one), std::nullopt);                        // funcrel
  EXPECT_EQ(read(0xff, one), std::nullopt);                        // omit
  EXPECT_EQ(read(0x05, one), std::nullopt);                        // no such format
  EXPECT_EQ(read(0x04, {0xff, 0, 0}), std::nullopt);               // cut
  EXPECT_EQ(read(0x50, Bytes(8, 0xff) + Number<uint64_t>(7)), 7);  // aligned
  ByteReader reader(one);
  EXPECT_EQ(ReadPointer(reader, 0x2b, {.section = 0, .text = {}, .data = {}}), std::nullopt);
}

// The rule at the start of a function whose CIE is `common`.
std::string WithCie(const CfiWriter::Common& common, const Bytes& range = {}) {
  CfiWriter writer;
  writer.AddCie(common);
  if (range.empty()) {
    writer.AddFde(0, 0x1000);
  } else {
    writer.AddRawFde(range, {});
  }
  CfiImage image;
  image.eh_frame = writer.bytes();
  auto elf = ElfFile::FromMemory(image.Build());
  auto table = UnwindTable::FromElf(*elf);
  return table ? Text(table->Find(CfiImage::kCodeOffset)) : table.error().message;
}

TEST(Cie, IsReadWithEachAugmentation) {
  EXPECT_EQ(WithCie({}), "r7+8");
  EXPECT_EQ(WithCie({.version = 3}), "r7+8");
  EXPECT_EQ(WithCie({.augmentation = "zRS"}), "signal");
  EXPECT_EQ(WithCie({.augmentation = "zRB"}), "r7+8");
  const Bytes personality = {0x9b, 1, 2, 3, 4};
  EXPECT_EQ(WithCie({.augmentation = "zPLR", .augmentation_data = personality + Bytes{0x1b, 0x1b}}),
            "r7+8");
  EXPECT_EQ(WithCie({.augmentation = "zLPR",
                     .augmentation_data = Bytes{0x1b, 0x00} + Bytes(8) + Bytes{0x1b}}),
            "r7+8");
  EXPECT_EQ(WithCie({.augmentation = "zRx", .augmentation_data = {0x1b, 9, 9}}), "r7+8");
}

TEST(Cie, TellsHowTheAddressesOfItsFunctionsAreWritten) {
  const Bytes absolute = Number(kStart) + Number<uint64_t>(0x1000);
  EXPECT_EQ(WithCie({.augmentation = "", .augmentation_data = {}}, absolute), "r7+8");
  EXPECT_EQ(WithCie({.augmentation_data = {0x00}}, absolute), "r7+8");
  EXPECT_EQ(WithCie({.augmentation_data = {0x03}},
                    Number(static_cast<uint32_t>(kStart)) + Number<uint32_t>(0x1000)),
            "r7+8");
  EXPECT_EQ(WithCie({.augmentation_data = {0x01}}, Uleb(kStart) + Uleb(0x1000)), "r7+8");
  EXPECT_EQ(WithCie({.augmentation_data = {0x2b}},  // From .text.
                    Number<int32_t>(0) + Number<int32_t>(0x1000)),
            "r7+8");
}

TEST(Cie, IsRefusedWhenItCannotBeReadAndSoAreItsFunctions) {
  const std::string unusable = ".eh_frame at offset 0x16: FDE of an unusable CIE";
  EXPECT_EQ(WithCie({.version = 2}), unusable);
  EXPECT_EQ(WithCie({.instructions = {0x3f, 0, 0, 0, 0}}), unusable);
  EXPECT_EQ(WithCie({.augmentation_data = {0xff}}),
            ".eh_frame at offset 0x16: FDE with an unreadable address");
  EXPECT_NE(WithCie({.augmentation = "x"}), "r7+8");
  EXPECT_NE(WithCie({.augmentation = "zRRRRRRRRRRRRRRRRRRRR"}), "r7+8");
  EXPECT_EQ(WithCie({.augmentation_data = {0x0b}},
                    Number(static_cast<int32_t>(kStart)) + Number<int32_t>(-1)),
            ".eh_frame at offset 0x16: FDE whose range or augmentation is too long");
}

}  // namespace
}  // namespace hotpath
