// Fuzzes the CFI interpreter: the input is a .eh_frame or .debug_frame of a file with 4 KiB of
// code.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "daemon/files/unwind_table.h"
#include "files/cfi_image.h"

namespace {

void Require(bool promise) {
  if (!promise) abort();
}

void CheckPromises(const hotpath::UnwindTable& table) {
  const auto rows = table.rows();
  if (!rows.empty()) {
    Require(rows.front().rule == HP_RULE_NONE && rows.back().rule == HP_RULE_NONE);
  }
  for (size_t i = 1; i < rows.size(); ++i) {
    Require(rows[i - 1].file_offset < rows[i].file_offset ||
            (i == 1 && rows[0].file_offset == rows[1].file_offset));
    Require(rows[i - 1].rule != rows[i].rule && rows[i].rule < table.rules().size());
  }
  for (const hp_rule& rule : table.rules()) {
    Require(rule.cfa_kind <= HP_CFA_FRAME_POINTER && rule.cfa_reg <= 15 && rule.ra <= 16 &&
            rule.rbp_kind <= HP_RBP_UNDEFINED && rule.rbx_kind <= HP_RBX_UNDEFINED);
  }
  const auto functions = table.functions();
  for (size_t i = 1; i < functions.size(); ++i) {
    Require(functions[i - 1].address + functions[i - 1].bytes <= functions[i].address);
  }
  const auto built = table.ToWords();
  Require(built.words.size() % HP_TABLE_LINE_WORDS == 0);
  Require(built.words[built.info.blocks] == rows.size());
}

}  // namespace

// The first byte chooses the section and how it is found.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hotpath;
  if (size < 1) return 0;
  CfiImage image;
  const Bytes frames(data + 1, data + size);
  const size_t half = frames.size() / 2;
  switch (data[0] % 4) {
    case 0:
      image.eh_frame = frames;
      break;
    case 1:
      image.eh_frame = frames;
      image.sections = false;
      break;
    case 2:
      image.debug_frame = frames;
      break;
    default:
      image.eh_frame.assign(frames.begin(), frames.begin() + static_cast<ptrdiff_t>(half));
      image.debug_frame.assign(frames.begin() + static_cast<ptrdiff_t>(half), frames.end());
  }
  if ((data[0] & 0x80) != 0) image.entry = CfiImage::kCode + 0x200;
  auto elf = ElfFile::FromMemory(image.Build());
  Require(elf.has_value());
  if (auto table = UnwindTable::FromElf(*elf, 100'000)) CheckPromises(*table);
  return 0;
}
