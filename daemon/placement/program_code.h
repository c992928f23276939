// The machine code of one file, and what is known about where its functions are.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hotpath {

// One executable segment.
struct CodeSegment {
  uint64_t address = 0;  // ELF virtual address of bytes[0].
  uint64_t file_offset = 0;
  std::vector<uint8_t> bytes;
};

// A function that a table tells of, without its name.
struct CodeExtent {
  uint64_t begin, end;  // ELF virtual addresses, begin < end.
};

// Immutable after it is made; thread-safe.
class ProgramCode {
 public:
  // `extents`: sorted, disjoint. `stubs`: by address, the name of what a PLT stub jumps to
  // ("malloc").
  ProgramCode(std::vector<CodeSegment> segments, std::vector<CodeExtent> extents,
              std::map<uint64_t, std::string> stubs);

  // What is there from `address` on, at most `bytes`; empty outside.
  std::span<const uint8_t> At(uint64_t address, uint64_t bytes) const;
  // nullopt outside.
  std::optional<uint64_t> OffsetOf(uint64_t address) const;
  // nullptr where none is known.
  const CodeExtent* ExtentOf(uint64_t address) const;
  // Empty where no stub begins.
  std::string_view StubAt(uint64_t address) const;
  const std::vector<CodeSegment>& segments() const { return segments_; }

 private:
  const CodeSegment* Find(uint64_t address) const;

  std::vector<CodeSegment> segments_;  // None wraps around.
  std::vector<CodeExtent> extents_;
  std::map<uint64_t, std::string> stubs_;
};

}  // namespace hotpath
