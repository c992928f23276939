// Which functions cover which bytes of a file's code, each byte at most once.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "daemon/files/elf_file.h"
#include "daemon/files/frame_section.h"

namespace hotpath {

// Where the rules of some code come from.
enum class FrameSource : uint8_t {
  kEhFrame,
  kDebugFrame,
  kSignalReturn,  // It is where signal handlers return to.
  kRoot,          // Nothing calls it.
  kKnownDepth,    // The CFA is a known number of bytes above rsp.
};

// A run of bytes of the file that one function covers.
struct CodeRange {
  uint64_t begin, end;  // File offsets, begin < end.
  uint64_t address;     // ELF virtual address of `begin`.
  uint32_t function;    // Index into the functions of its source; of kKnownDepth: CFA - rsp.
  FrameSource source;
};

// The executable segments, cut to the file's size, by address.
class ExecutableMap {
 public:
  static constexpr uint64_t kMaxSpanBytes = uint64_t{4} << 30;
  static constexpr uint64_t kMaxOffset = uint64_t{1} << 42;  // A block's number fits 32 bits.

  // Errors: kTooLarge when code spans more than kMaxSpanBytes of the file or lies past kMaxOffset.
  static Result<ExecutableMap> FromElf(const ElfFile& elf);

  // [address, address + bytes) as file offsets, cut at the segment's end; nullopt outside.
  std::optional<CodeRange> Find(uint64_t address, uint64_t bytes) const;

 private:
  struct Range {
    uint64_t address, file_offset, bytes;
  };
  std::vector<Range> ranges_;  // Sorted by address.
};

struct RangeCounts {
  size_t outside = 0;      // Functions in no executable segment.
  size_t overlapping = 0;  // Functions whose every byte an earlier one covers.
};

// The functions of one section as sorted, disjoint ranges. Where two overlap, the first in the file
// keeps the bytes.
std::vector<CodeRange> DisjointRanges(const ExecutableMap& code,
                                      std::span<const FrameFunction> functions, FrameSource source,
                                      RangeCounts& counts);

// Adds to `ranges` those of `others` that begin where nothing is covered, cut where the next
// begins. Both are sorted and disjoint, and so is what becomes of `ranges`.
void AddUncovered(std::vector<CodeRange>& ranges, std::span<const CodeRange> others);

}  // namespace hotpath
