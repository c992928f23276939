// Builds a file's unwind table: find functions, run their CFI, write rows, lay out words.
#include "daemon/files/unwind_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "daemon/files/code_ranges.h"
#include "daemon/files/frame_section.h"
#include "daemon/files/known_functions.h"
#include "daemon/files/unwind_rows.h"

namespace hotpath {
namespace {

constexpr uint64_t kPaddingBytes = 16;  // A smaller gap between functions costs no row.
constexpr uint8_t kRsp = 7;
constexpr uint64_t kEntryPointBytes = 64;  // At most, of an entry point without an FDE.

constexpr hp_rule RuleOfKind(hp_cfa_kind kind) {
  hp_rule rule{};
  rule.cfa_kind = kind;
  return rule;
}

// A section and its functions; both empty when the file has none.
struct Frames {
  std::optional<FrameSection> section;
  std::vector<FrameFunction> functions;
  std::string failure;  // Why it could not be read; empty when it is just not there.

  void Read(Result<FrameSection> opened) {
    if (!opened) {
      if (opened.error().code != ErrorCode::kNotFound) failure = opened.error().message;
      return;
    }
    section = std::move(*opened);
    functions = section->ReadFunctions();
    if (functions.empty()) failure = section->first_damage();
  }
  size_t damaged() const {
    return section ? section->damaged() : static_cast<size_t>(!failure.empty());
  }
};

void AddEntryPoint(const ElfFile& elf, const ExecutableMap& code, std::vector<CodeRange>& ranges) {
  auto entry = code.Find(elf.entry(), kEntryPointBytes);
  if (!entry || elf.entry() == 0) return;
  entry->source = FrameSource::kRoot;
  AddUncovered(ranges, std::array{*entry});
}

}  // namespace

Result<UnwindTable> UnwindTable::FromElf(const ElfFile& elf, size_t max_rows) {
  UnwindTable table;
  auto code = ExecutableMap::FromElf(elf);
  if (!code) return std::unexpected(code.error());

  std::array<Frames, 2> frames;  // By FrameSource.
  frames[0].Read(FrameSection::EhFrame(elf));
  frames[1].Read(FrameSection::DebugFrame(elf));
  for (const Frames& some : frames) table.damaged_ += some.damaged();
  if (frames[0].functions.empty() && frames[1].functions.empty()) {
    for (const Frames& some : frames) {
      if (!some.failure.empty()) return Fail(ErrorCode::kMalformed, some.failure);
    }
    return table;
  }

  RangeCounts counts;
  const std::vector<CodeRange> eh_frame =
      DisjointRanges(*code, frames[0].functions, FrameSource::kEhFrame, counts);
  const std::vector<CodeRange> debug_frame =
      DisjointRanges(*code, frames[1].functions, FrameSource::kDebugFrame, counts);
  table.outside_ = counts.outside;
  table.overlapping_ = counts.overlapping;
  if (eh_frame.empty() && debug_frame.empty()) return table;
  table.source_ = eh_frame.empty() ? "debug_frame" : "eh_frame";

  const KnownFunctions known = FindKnownFunctions(elf, *code);
  std::vector<CodeRange> ranges = known.signal_returns;  // In order of precedence.
  AddUncovered(ranges, eh_frame);
  AddUncovered(ranges, debug_frame);
  AddEntryPoint(elf, *code, ranges);
  AddUncovered(ranges, known.roots);
  AddUncovered(ranges, known.depths);

  size_t frame_bytes = 0;
  for (const Frames& some : frames) frame_bytes += some.section ? some.section->bytes() : 0;
  const FramePointerCode uncovered = FindFramePointerCode(elf, *code, ranges);
  const hp_rule gap = RuleOfKind(uncovered.empty() ? HP_CFA_NONE : HP_CFA_FRAME_POINTER);
  uint64_t covered = std::min(ranges.front().begin, uncovered.begin);
  UnwindRowWriter writer(covered, max_rows, frame_bytes / 4);
  table.functions_.reserve(ranges.size());
  std::vector<CfiRow> rows;
  for (const CodeRange& range : ranges) {
    if (range.begin - covered >= kPaddingBytes) writer.Add(covered, gap);
    covered = range.end;
    if (range.source == FrameSource::kRoot || range.source == FrameSource::kSignalReturn) {
      const bool is_root = range.source == FrameSource::kRoot;
      writer.Add(range.begin, RuleOfKind(is_root ? HP_CFA_ROOT : HP_CFA_SIGNAL));
      continue;
    }
    if (range.source == FrameSource::kKnownDepth) {
      hp_rule rule = RuleOfKind(HP_CFA_REG);
      rule.cfa_reg = kRsp;
      rule.cfa_offset = static_cast<int32_t>(range.function);
      writer.Add(range.begin, rule);
      continue;
    }
    const uint64_t end_address = range.address + (range.end - range.begin);
    table.functions_.push_back({range.address, range.end - range.begin});
    const Frames& from = frames[static_cast<size_t>(range.source)];
    if (!from.section->Run(from.functions[range.function], rows)) {
      ++table.damaged_;
      writer.Add(range.begin, RuleOfKind(HP_CFA_NONE));
      continue;
    }
    for (size_t i = 0; i < rows.size() && rows[i].address < end_address; ++i) {
      if (i + 1 < rows.size() && rows[i + 1].address <= range.address) continue;
      const uint64_t address = std::max(rows[i].address, range.address);
      if (rows[i].rule.cfa_kind == HP_CFA_NONE) ++table.unsupported_;
      writer.Add(range.begin + (address - range.address), rows[i].rule);
    }
    if (writer.full()) return Fail(ErrorCode::kTooLarge, fmt::format("over {} rows", max_rows));
  }
  writer.Add(covered, gap);
  writer.Add(std::max(covered, uncovered.end), RuleOfKind(HP_CFA_NONE));
  if (writer.full()) return Fail(ErrorCode::kTooLarge, fmt::format("over {} rows", max_rows));

  table.rules_dropped_ = writer.rules_dropped();
  table.rows_ = writer.TakeRows();
  table.rules_ = writer.TakeRules();
  // Sorted by file offset so far; segments may lie otherwise in memory.
  if (!std::ranges::is_sorted(table.functions_, {}, &FunctionRange::address)) {
    std::ranges::sort(table.functions_, {}, &FunctionRange::address);
    uint64_t end = 0;
    std::erase_if(table.functions_, [&](const FunctionRange& function) {
      if (function.address < end) return true;
      end = function.address + function.bytes;
      return false;
    });
  }
  return table;
}

const hp_rule& UnwindTable::Find(uint64_t file_offset) const {
  static constexpr hp_rule kNone = RuleOfKind(HP_CFA_NONE);
  const auto after = std::ranges::upper_bound(rows_, file_offset, {}, &UnwindRow::file_offset);
  if (after == rows_.begin()) return kNone;
  return rules_[std::prev(after)->rule];
}

UnwindTable::Words UnwindTable::ToWords() const {
  Words result{};
  result.info.state = HP_TABLE_READY;
  const auto whole_lines = [](size_t words) {
    return (words + HP_TABLE_LINE_WORDS - 1) / HP_TABLE_LINE_WORDS * HP_TABLE_LINE_WORDS;
  };
  if (rows_.empty()) {
    result.words.resize(HP_TABLE_LINE_WORDS);
    return result;
  }
  const uint64_t first_block = rows_.front().file_offset >> HP_BLOCK_SHIFT;
  // The last row ends the last function: past its block there are no rules.
  const uint64_t blocks = (rows_.back().file_offset >> HP_BLOCK_SHIFT) - first_block + 1;
  const size_t rows_at = whole_lines(blocks + 1);
  result.info.first_block = static_cast<uint32_t>(first_block);
  result.info.blocks = static_cast<uint32_t>(blocks);
  result.info.rows_at = static_cast<uint32_t>(rows_at);
  result.words.resize(whole_lines(rows_at + rows_.size()));
  uint64_t next_block = 0;  // The first block whose first row is not known yet.
  for (size_t i = 0; i < rows_.size(); ++i) {
    const uint64_t block = (rows_[i].file_offset >> HP_BLOCK_SHIFT) - first_block;
    while (next_block <= block) result.words[next_block++] = static_cast<uint32_t>(i);
    result.words[rows_at + i] =
        static_cast<uint32_t>(rows_[i].file_offset & 0xffff) | uint32_t{rows_[i].rule} << 16;
  }
  result.words[blocks] = static_cast<uint32_t>(rows_.size());
  return result;
}

}  // namespace hotpath
