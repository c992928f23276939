// Sweeps over sorted ranges, so that no byte of code ever has two rules.
#include "daemon/files/code_ranges.h"

#include <fmt/format.h>

#include <algorithm>

namespace hotpath {

Result<ExecutableMap> ExecutableMap::FromElf(const ElfFile& elf) {
  ExecutableMap map;
  uint64_t first = UINT64_MAX, last = 0;
  for (const ElfSegment& segment : elf.segments()) {
    if (!segment.executable || segment.file_offset >= elf.file_bytes()) continue;
    const uint64_t bytes = std::min(segment.file_bytes, elf.file_bytes() - segment.file_offset);
    if (bytes == 0) continue;
    map.ranges_.push_back({segment.address, segment.file_offset, bytes});
    first = std::min(first, segment.file_offset);
    last = std::max(last, segment.file_offset + bytes);
  }
  if (map.ranges_.empty()) return map;
  if (last - first > kMaxSpanBytes || last > kMaxOffset) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("code at offsets {:#x} to {:#x} of the file", first, last));
  }
  std::ranges::sort(map.ranges_, {}, &Range::address);
  return map;
}

std::optional<CodeRange> ExecutableMap::Find(uint64_t address, uint64_t bytes) const {
  auto after = std::ranges::upper_bound(ranges_, address, {}, &Range::address);
  if (after == ranges_.begin()) return std::nullopt;
  const Range& range = *--after;
  const uint64_t into = address - range.address;
  if (into >= range.bytes || bytes == 0) return std::nullopt;
  const uint64_t begin = range.file_offset + into;
  return CodeRange{.begin = begin,
                   .end = begin + std::min(bytes, range.bytes - into),
                   .address = address,
                   .function = 0,
                   .source = FrameSource::kEhFrame};
}

std::vector<CodeRange> DisjointRanges(const ExecutableMap& code,
                                      std::span<const FrameFunction> functions, FrameSource source,
                                      RangeCounts& counts) {
  std::vector<CodeRange> ranges;
  ranges.reserve(functions.size());
  for (size_t i = 0; i < functions.size(); ++i) {
    auto range = code.Find(functions[i].address, functions[i].bytes);
    // Linkers leave the functions they dropped at address 0 of .debug_frame.
    if (!range || (source == FrameSource::kDebugFrame && functions[i].address == 0)) {
      ++counts.outside;
      continue;
    }
    range->function = static_cast<uint32_t>(i);
    range->source = source;
    ranges.push_back(*range);
  }
  if (!std::ranges::is_sorted(ranges, {}, &CodeRange::begin)) {
    std::ranges::sort(
        ranges, {}, [](const CodeRange& range) { return std::pair(range.begin, range.function); });
  }
  uint64_t covered = 0;
  const auto is_covered = [&](CodeRange& range) {
    if (range.end <= covered) return true;
    if (range.begin < covered) {
      range.address += covered - range.begin;
      range.begin = covered;
    }
    covered = range.end;
    return false;
  };
  counts.overlapping += std::erase_if(ranges, is_covered);
  return ranges;
}

void AddUncovered(std::vector<CodeRange>& ranges, std::span<const CodeRange> others) {
  const size_t count = ranges.size();
  size_t next = 0;  // The first of `ranges` that ends after other.begin.
  for (CodeRange other : others) {
    while (next < count && ranges[next].end <= other.begin) ++next;
    if (next < count) {
      if (ranges[next].begin <= other.begin) continue;
      other.end = std::min(other.end, ranges[next].begin);
    }
    ranges.push_back(other);
  }
  if (ranges.size() > count) std::ranges::sort(ranges, {}, &CodeRange::begin);
}

}  // namespace hotpath
