// UnwindTable on hand-made .eh_frame and .debug_frame: ranges, gaps, damage, the layout in words.
#include "daemon/files/unwind_table.h"

#include <gtest/gtest.h>

#include <cstring>

#include "cfi_image.h"
#include "daemon/files/unwind_rows.h"

namespace hotpath {
namespace {

constexpr hp_rule kNone{};
constexpr uint64_t kCode = CfiImage::kCodeOffset;

hp_rule Rsp(int32_t offset) {
  hp_rule rule{};
  rule.cfa_kind = HP_CFA_REG;
  rule.cfa_reg = 7;
  rule.cfa_offset = offset;
  return rule;
}

hp_rule Kind(hp_cfa_kind kind) {
  hp_rule rule{};
  rule.cfa_kind = kind;
  return rule;
}

// CFA = rsp + `offset`.
Bytes DefOffset(uint8_t offset) { return {0x0e, offset}; }

// More than half of the code, so that what is left is a gap and not frame-pointer code.
CfiWriter& Fill(CfiWriter& writer) { return writer.AddFde(0x700, 0x900); }

Result<UnwindTable> Build(const CfiImage& image, size_t max_rows = 100'000) {
  auto elf = ElfFile::FromMemory(image.Build());
  EXPECT_TRUE(elf) << elf.error().message;
  return UnwindTable::FromElf(*elf, max_rows);
}

UnwindTable BuildEhFrame(CfiWriter writer) {
  auto table = Build({.eh_frame = Fill(writer).bytes()});
  EXPECT_TRUE(table) << table.error().message;
  return table ? std::move(*table) : UnwindTable();
}

// Looks a byte of code up as the kernel side does: block, rows of the block, the row before them.
hp_rule FindInWords(const UnwindTable& table, const UnwindTable::Words& built, uint64_t offset) {
  const uint64_t block = (offset >> HP_BLOCK_SHIFT) - built.info.first_block;
  if (offset >> HP_BLOCK_SHIFT < built.info.first_block || block >= built.info.blocks) return {};
  uint32_t row = built.words[block];
  const uint32_t end = built.words[block + 1];
  while (row < end && (built.words[built.info.rows_at + row] & 0xffff) <= (offset & 0xffff)) ++row;
  return table.rules()[built.words[built.info.rows_at + row - 1] >> 16];
}

#define EXPECT_RULE(found, wanted)                                                         \
  do {                                                                                     \
    const hp_rule found_rule = (found), wanted_rule = (wanted);                            \
    EXPECT_EQ(std::memcmp(&found_rule, &wanted_rule, sizeof(hp_rule)), 0)                  \
        << "cfa kind " << int{found_rule.cfa_kind} << " offset " << found_rule.cfa_offset; \
  } while (false)

TEST(UnwindTable, GivesEveryByteOfAFunctionItsRuleAndGapsNone) {
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x40, Bytes{0x41} + DefOffset(16) + Bytes{0x4f} + DefOffset(8));
  writer.AddFde(0x180, 0x10);
  const UnwindTable table = BuildEhFrame(writer);
  EXPECT_EQ(table.source(), "eh_frame");
  EXPECT_RULE(table.Find(kCode), kNone);
  EXPECT_RULE(table.Find(kCode + 0xff), kNone);
  EXPECT_RULE(table.Find(kCode + 0x100), Rsp(8));
  EXPECT_RULE(table.Find(kCode + 0x101), Rsp(16));
  EXPECT_RULE(table.Find(kCode + 0x10f), Rsp(16));
  EXPECT_RULE(table.Find(kCode + 0x110), Rsp(8));
  EXPECT_RULE(table.Find(kCode + 0x13f), Rsp(8));
  EXPECT_RULE(table.Find(kCode + 0x140), kNone);
  EXPECT_RULE(table.Find(kCode + 0x180), Rsp(8));
  EXPECT_RULE(table.Find(kCode + 0x190), kNone);
  EXPECT_RULE(table.Find(kCode + 0x1000), kNone);
  EXPECT_RULE(table.Find(0), kNone);
  EXPECT_RULE(table.Find(UINT64_MAX), kNone);
  ASSERT_EQ(table.functions().size(), 3);
  EXPECT_EQ(table.functions()[0].address, CfiImage::kCode + 0x100);
  EXPECT_EQ(table.functions()[0].bytes, 0x40);
}

TEST(UnwindTable, GivesAFunctionWithoutInstructionsTheRuleOfItsCie) {
  CfiWriter writer;
  writer.AddCie({.instructions = {0x0c, 7, 8, 0x07, 16}});  // Return address undefined.
  writer.AddFde(0x100, 0x20);
  EXPECT_RULE(BuildEhFrame(writer).Find(kCode + 0x100), Kind(HP_CFA_ROOT));
}

TEST(UnwindTable, MergesPaddingUnder16BytesAndKeepsLargerGaps) {
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x11).AddFde(0x120, 0x10).AddFde(0x140, 0x10);
  const UnwindTable table = BuildEhFrame(writer);
  EXPECT_RULE(table.Find(kCode + 0x111), Rsp(8));
  EXPECT_RULE(table.Find(kCode + 0x11f), Rsp(8));
  EXPECT_RULE(table.Find(kCode + 0x130), kNone);
  EXPECT_RULE(table.Find(kCode + 0x13f), kNone);
}

TEST(UnwindTable, LetsTheFirstOfTwoOverlappingFunctionsKeepTheBytes) {
  CfiWriter writer;
  writer.AddCie();
  writer.AddFde(0x120, 0x60, DefOffset(32));  // Later in the code, earlier in the section.
  writer.AddFde(0x100, 0x40, DefOffset(16));
  writer.AddFde(0x108, 0x08, DefOffset(24));  // Wholly inside the first.
  const UnwindTable table = BuildEhFrame(writer);
  EXPECT_RULE(table.Find(kCode + 0x10a), Rsp(16));
  EXPECT_RULE(table.Find(kCode + 0x13f), Rsp(16));
  EXPECT_RULE(table.Find(kCode + 0x140), Rsp(32));
  EXPECT_RULE(table.Find(kCode + 0x17f), Rsp(32));
  EXPECT_RULE(table.Find(kCode + 0x180), kNone);
  EXPECT_EQ(table.overlapping(), 1);
  for (size_t i = 1; i < table.functions().size(); ++i) {
    EXPECT_LE(table.functions()[i - 1].address + table.functions()[i - 1].bytes,
              table.functions()[i].address);
  }
}

TEST(UnwindTable, StartsAClippedFunctionWithTheRuleOfItsFirstByteLeft) {
  CfiWriter writer;
  writer.AddCie();
  writer.AddFde(0x100, 0x20, DefOffset(64));
  writer.AddFde(0x110, 0x30, Bytes{0x44} + DefOffset(16) + Bytes{0x58} + DefOffset(24));
  const UnwindTable table = BuildEhFrame(writer);
  EXPECT_RULE(table.Find(kCode + 0x11f), Rsp(64));
  EXPECT_RULE(table.Find(kCode + 0x120), Rsp(16));
  EXPECT_RULE(table.Find(kCode + 0x12c), Rsp(24));
}

TEST(UnwindTable, DropsFunctionsOutsideExecutableSegmentsAndCutsThoseThatLeaveThem) {
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x40).AddFde(0x3000, 0x10).AddFde(0x1000, 0x10);
  const UnwindTable table = BuildEhFrame(writer);
  EXPECT_EQ(table.outside(), 2);
  EXPECT_EQ(table.functions().size(), 2);

  CfiWriter long_function;
  long_function.AddCie().AddFde(0x700, 0x9000);
  auto cut = Build({.eh_frame = long_function.bytes()});
  ASSERT_TRUE(cut);
  EXPECT_EQ(cut->functions()[0].bytes, 0x900);
  EXPECT_EQ(cut->rows().back().file_offset, kCode + 0x1000);
}

TEST(UnwindTable, CostsADamagedFunctionOnlyItsOwnRange) {
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x40, {0x3f});    // No such instruction.
  writer.AddFde(0x140, 0x40, Bytes{0x42, 0x0b});  // Restores a state that was never kept.
  writer.AddFde(0x180, 0x40, Bytes{0x42} + DefOffset(16));
  const UnwindTable table = BuildEhFrame(writer);
  EXPECT_EQ(table.damaged(), 2);
  EXPECT_RULE(table.Find(kCode + 0x100), kNone);
  EXPECT_RULE(table.Find(kCode + 0x141), kNone);
  EXPECT_RULE(table.Find(kCode + 0x182), Rsp(16));
  EXPECT_EQ(table.functions().size(), 4);
}

TEST(UnwindTable, KeepsWhatCameBeforeALengthThatLeavesTheSection) {
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x40);
  Fill(writer).AddBytes(Number<uint32_t>(0x10000)).AddBytes(Bytes(16));
  auto table = Build({.eh_frame = writer.bytes()});
  ASSERT_TRUE(table);
  EXPECT_RULE(table->Find(kCode + 0x100), Rsp(8));
  EXPECT_EQ(table->damaged(), 1);
}

TEST(UnwindTable, SaysWhichSectionAndOffsetWhenNothingCanBeRead) {
  auto table = Build({.eh_frame = Number<uint32_t>(0x10000) + Bytes(32)});
  ASSERT_FALSE(table);
  EXPECT_EQ(table.error().code, ErrorCode::kMalformed);
  EXPECT_EQ(table.error().message, ".eh_frame at offset 0x0: length leaves the section");
}

TEST(UnwindTable, IsEmptyForAFileWithoutCfi) {
  auto table = Build({.eh_frame = Bytes(4)});
  ASSERT_TRUE(table);
  EXPECT_EQ(table->source(), "none");
  EXPECT_TRUE(table->rows().empty());
  EXPECT_RULE(table->Find(kCode), kNone);
  EXPECT_EQ(table->ToWords().info.blocks, 0);
}

TEST(UnwindTable, RefusesMoreRowsThanAllowed) {
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x40, Bytes{0x41} + DefOffset(16) + Bytes{0x41} + DefOffset(24));
  const CfiImage image{.eh_frame = Fill(writer).bytes()};
  EXPECT_EQ(Build(image, 4).error().code, ErrorCode::kTooLarge);
  EXPECT_TRUE(Build(image, 7));
}

TEST(UnwindTable, FindsEhFrameWithoutSections) {
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x40, DefOffset(24));
  Fill(writer).AddBytes(Bytes(4));  // Its terminator; no section tells its size.
  auto table = Build({.eh_frame = writer.bytes(), .sections = false});
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_RULE(table->Find(kCode + 0x100), Rsp(24));
  EXPECT_EQ(table->damaged(), 0);
}

TEST(UnwindTable, ReadsPastATerminatorInsideTheSection) {
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x40).AddBytes(Bytes(4)).AddFde(0x200, 0x40, DefOffset(16));
  EXPECT_RULE(BuildEhFrame(writer).Find(kCode + 0x200), Rsp(16));
}

TEST(UnwindTable, TakesDebugFrameOnlyWhereEhFrameHasNothing) {
  CfiWriter eh_frame;
  eh_frame.AddCie().AddFde(0x120, 0x20, DefOffset(16));
  for (const uint8_t version : {1, 3, 4}) {
    CfiWriter debug_frame(false);
    debug_frame.AddCie({.augmentation = "", .version = version});
    debug_frame.AddFde(0x100, 0x30, DefOffset(32));  // Its end is .eh_frame's.
    debug_frame.AddFde(0x130, 0x30, DefOffset(40));  // Begins in .eh_frame's: not taken.
    debug_frame.AddFde(0x180, 0x30, DefOffset(48));
    debug_frame.AddRawFde(Number<uint64_t>(0) + Number<uint64_t>(0x100), {});  // A dropped one.
    debug_frame.AddFde(0x700, 0x900, DefOffset(56));
    auto table = Build({.eh_frame = eh_frame.bytes(), .debug_frame = debug_frame.bytes()});
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_EQ(table->source(), "eh_frame");
    EXPECT_RULE(table->Find(kCode + 0x11f), Rsp(32));
    EXPECT_RULE(table->Find(kCode + 0x120), Rsp(16));
    EXPECT_RULE(table->Find(kCode + 0x13f), Rsp(16));
    EXPECT_RULE(table->Find(kCode + 0x150), kNone);
    EXPECT_RULE(table->Find(kCode + 0x180), Rsp(48));
    EXPECT_RULE(table->Find(kCode + 0xfff), Rsp(56));
    EXPECT_EQ(table->outside(), 1);
    EXPECT_EQ(table->damaged(), 0);

    auto alone = Build({.eh_frame = {}, .debug_frame = debug_frame.bytes()});
    ASSERT_TRUE(alone);
    EXPECT_EQ(alone->source(), "debug_frame");
    EXPECT_RULE(alone->Find(kCode + 0x150), Rsp(40));
  }
}

TEST(UnwindTable, MakesAnEntryPointWithoutAnFdeARoot) {
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x40).AddFde(0x220, 0x20);
  Fill(writer);
  const auto with_entry = [&](uint64_t entry) {
    return *Build({.eh_frame = writer.bytes(), .entry = CfiImage::kCode + entry});
  };
  const UnwindTable far = with_entry(0x160);
  EXPECT_RULE(far.Find(kCode + 0x15f), kNone);
  EXPECT_RULE(far.Find(kCode + 0x160), Kind(HP_CFA_ROOT));
  EXPECT_RULE(far.Find(kCode + 0x19f), Kind(HP_CFA_ROOT));
  EXPECT_RULE(far.Find(kCode + 0x1a0), kNone);
  const UnwindTable near = with_entry(0x210);
  EXPECT_RULE(near.Find(kCode + 0x21f), Kind(HP_CFA_ROOT));
  EXPECT_RULE(near.Find(kCode + 0x220), Rsp(8));
  const UnwindTable inside = with_entry(0x110);
  EXPECT_RULE(inside.Find(kCode + 0x110), Rsp(8));
  EXPECT_EQ(inside.functions().size(), 3);
}

TEST(UnwindTable, FollowsFramePointersInTheGapsOfGoAndOfFilesThatKeepThemInsteadOfFdes) {
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x40);
  CfiImage image{.eh_frame = writer.bytes()};
  auto without = Build(image);  // Few FDEs and no frame pointers: musl.
  ASSERT_TRUE(without);
  EXPECT_RULE(without->Find(kCode + 0x800), kNone);

  for (const uint64_t at : {0x10, 0x400, 0xa00}) {  // push %rbp; mov %rsp,%rbp
    std::ranges::copy(Bytes{0x55, 0x48, 0x89, 0xe5}, image.code.begin() + at);
  }
  auto sparse = Build(image);
  ASSERT_TRUE(sparse);
  EXPECT_RULE(sparse->Find(kCode), Kind(HP_CFA_FRAME_POINTER));
  EXPECT_RULE(sparse->Find(kCode + 0x100), Rsp(8));
  EXPECT_RULE(sparse->Find(kCode + 0xfff), Kind(HP_CFA_FRAME_POINTER));
  EXPECT_RULE(sparse->Find(kCode + 0x1000), kNone);

  image.eh_frame = Fill(writer).bytes();
  auto dense = Build(image);  // What has no FDE here is hand-written.
  ASSERT_TRUE(dense);
  EXPECT_RULE(dense->Find(kCode + 0x200), kNone);

  auto go = Build({.eh_frame = writer.bytes(), .extra_section = ".gopclntab"});
  ASSERT_TRUE(go);
  EXPECT_RULE(go->Find(kCode + 0x140), Kind(HP_CFA_FRAME_POINTER));
}

TEST(UnwindTable, KnowsSignalReturnsByNameAndCodeWhateverTheirFdeSays) {
  const Bytes code = {0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05};
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x80).AddFde(0x180, 0x20).AddFde(0x1a0, 0x20);
  CfiImage image{.eh_frame = Fill(writer).bytes(),
                 .symbols = {{"runtime.sigreturn__sigaction.abi0", 0x180, 9},
                             {"__restore_rt", 0x1a8, 0},  // Not that code.
                             {"something", 0x300, 9}}};   // Not that name.
  std::ranges::copy(code, image.code.begin() + 0x180);
  std::ranges::copy(code, image.code.begin() + 0x300);
  auto table = Build(image);
  ASSERT_TRUE(table);
  EXPECT_RULE(table->Find(kCode + 0x17e), Rsp(8));
  EXPECT_RULE(table->Find(kCode + 0x17f), Kind(HP_CFA_SIGNAL));  // The return address minus one.
  EXPECT_RULE(table->Find(kCode + 0x188), Kind(HP_CFA_SIGNAL));
  EXPECT_RULE(table->Find(kCode + 0x1a7), Rsp(8));
  EXPECT_RULE(table->Find(kCode + 0x1a8), Rsp(8));
  EXPECT_RULE(table->Find(kCode + 0x300), kNone);
}

TEST(UnwindTable, TakesMuslsFirstFunctionsForRootsWhereNoFdeCoversThem) {
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x40);
  Fill(writer);
  const CfiImage::Symbol start{"start", 0x200, 0x20}, covered{"__clone", 0x100, 0x40};
  const CfiImage::Symbol main{"libc_start_main_stage2", 0x300, 0x20};
  auto musl = Build({.eh_frame = writer.bytes(), .symbols = {start, covered, main}});
  ASSERT_TRUE(musl);
  EXPECT_RULE(musl->Find(kCode + 0x200), Kind(HP_CFA_ROOT));
  EXPECT_RULE(musl->Find(kCode + 0x21f), Kind(HP_CFA_ROOT));
  EXPECT_RULE(musl->Find(kCode + 0x220), kNone);
  EXPECT_RULE(musl->Find(kCode + 0x300), Kind(HP_CFA_ROOT));
  EXPECT_RULE(musl->Find(kCode + 0x100), Rsp(8));
  auto other = Build({.eh_frame = writer.bytes(), .symbols = {start, covered}});
  ASSERT_TRUE(other);
  EXPECT_RULE(other->Find(kCode + 0x200), kNone);
}

// As glibc's crti.o and crtn.o make them: no FDE, a push and a pop.
TEST(UnwindTable, KnowsTheDepthOfInitAndFiniByTheirCode) {
  CfiWriter writer;
  writer.AddCie().AddFde(0x100, 0x40);
  const Bytes push = {0x48, 0x83, 0xec, 0x08}, pop = {0x48, 0x83, 0xc4, 0x08, 0xc3};
  const auto find = [&](const std::string& name, const Bytes& first) {
    CfiImage image{.eh_frame = writer.bytes(), .code_name = name, .code_section_bytes = 0x40};
    std::ranges::copy(first, image.code.begin());
    std::ranges::copy(pop, image.code.begin() + 0x3b);
    return *Build(image);
  };
  const UnwindTable init = find(".init", push);
  EXPECT_RULE(init.Find(kCode), Rsp(8));
  EXPECT_RULE(init.Find(kCode + 3), Rsp(8));
  EXPECT_RULE(init.Find(kCode + 4), Rsp(16));
  EXPECT_RULE(init.Find(kCode + 0x3e), Rsp(16));
  EXPECT_RULE(init.Find(kCode + 0x3f), Rsp(8));
  EXPECT_RULE(init.Find(kCode + 0x50), kNone);
  const UnwindTable fini = find(".fini", Bytes{0xf3, 0x0f, 0x1e, 0xfa} + push);
  EXPECT_RULE(fini.Find(kCode + 7), Rsp(8));
  EXPECT_RULE(fini.Find(kCode + 8), Rsp(16));
  EXPECT_RULE(find(".text", push).Find(kCode + 4), kNone);    // Not that name.
  EXPECT_RULE(find(".init", {0x50}).Find(kCode + 4), kNone);  // Not that code.
}

TEST(UnwindTable, KeepsEachRuleOnceAndNoTwoNeighboursWithOneRule) {
  CfiWriter writer;
  writer.AddCie();
  for (uint64_t i = 0; i < 50; ++i) {
    writer.AddFde(0x100 + i * 16, 16, Bytes{0x44} + DefOffset(16) + Bytes{0x44} + DefOffset(8));
  }
  const UnwindTable table = BuildEhFrame(writer);
  EXPECT_EQ(table.rules().size(), 3);  // None, rsp + 8, rsp + 16.
  for (size_t i = 1; i < table.rows().size(); ++i) {
    EXPECT_NE(table.rows()[i - 1].rule, table.rows()[i].rule);
    EXPECT_LE(table.rows()[i - 1].file_offset, table.rows()[i].file_offset);
  }
  EXPECT_EQ(table.rows()[0].rule, HP_RULE_NONE);
}

TEST(UnwindRowWriter, CountsTheRowsPast65535RulesAndGivesThemNone) {
  UnwindRowWriter writer(0x1000, 100'000, 0);
  for (int32_t i = 1; i <= 65'540; ++i) writer.Add(0x1000 + static_cast<uint64_t>(i), Rsp(i));
  EXPECT_EQ(writer.rules_dropped(), 5);
  writer.Add(0x20000, Rsp(65'535));  // One that is known still has its number.
  EXPECT_EQ(writer.rules_dropped(), 5);
  const std::vector<hp_rule> rules = writer.TakeRules();
  const std::vector<UnwindRow> rows = writer.TakeRows();
  ASSERT_EQ(rules.size(), 65'536);
  ASSERT_EQ(rows.size(), 1 + 65'535 + 1 + 1);
  EXPECT_EQ(rows[65'536].rule, HP_RULE_NONE);
  EXPECT_RULE(rules[rows.back().rule], Rsp(65'535));
  for (int32_t i = 1; i <= 65'535; ++i) ASSERT_EQ(rules[rows[i].rule].cfa_offset, i);
}

TEST(UnwindTable, LaysOutWordsInWhichEveryByteHasTheSameRule) {
  CfiWriter writer;
  writer.AddCie();
  writer.AddFde(0, 0x20, DefOffset(16));  // The first byte of the first block.
  for (uint64_t i = 0; i < 40; ++i) {
    writer.AddFde(0x30 + i * 37, 20, Bytes{0x44} + DefOffset(static_cast<uint8_t>(16 + i)));
  }
  const UnwindTable table = BuildEhFrame(writer);
  const UnwindTable::Words built = table.ToWords();
  EXPECT_EQ(built.info.state, HP_TABLE_READY);
  EXPECT_EQ(built.info.first_block, kCode >> HP_BLOCK_SHIFT);
  EXPECT_EQ(built.info.rows_at % HP_TABLE_LINE_WORDS, 0);
  EXPECT_EQ(built.words.size() % HP_TABLE_LINE_WORDS, 0);
  EXPECT_EQ(built.words[built.info.blocks], table.rows().size());
  EXPECT_EQ(built.words[0], 0);
  EXPECT_GE(built.words.size(), built.info.rows_at + table.rows().size());
  for (uint64_t offset = kCode - 0x800; offset < kCode + 0x1800; ++offset) {
    EXPECT_RULE(FindInWords(table, built, offset), table.Find(offset));
  }
}

}  // namespace
}  // namespace hotpath
