// Names of JIT code: the perf-PID.map files that runtimes write into /tmp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hotpath {

// One such file, read. Immutable. Where entries overlap, the later line wins, for runtimes reuse
// memory. 16 bytes an entry and its name.
class PerfMap {
 public:
  static constexpr size_t kMaxEntries = 1'000'000;  // The first ones are dropped beyond that.
  static constexpr size_t kMaxNameBytes = 1024;     // Longer names are cut.

  // Lines as "START SIZE name with spaces", hexadecimal with or without 0x; others are skipped.
  static PerfMap Parse(std::string_view text);

  struct Entry {
    uint64_t address;       // Where the code begins.
    std::string_view name;  // Valid UTF-8; never empty.
  };
  // O(log n).
  std::optional<Entry> Find(uint64_t address) const;
  size_t size() const { return ranges_.size(); }
  size_t bytes() const;  // Of memory.

 private:
  struct Code {  // A line of the file.
    uint64_t begin, end;
    std::string_view name;
  };
  struct Range {
    uint64_t begin;
    uint32_t bytes;
    uint32_t name;  // Index into names_.
  };
  struct Name {
    uint64_t code_begin;
    uint32_t offset, bytes;
  };
  // Cuts overlapping code into disjoint ranges.
  void Layer(const std::vector<Code>& lines);
  void Append(uint64_t begin, uint64_t end, const Code& code, uint32_t* name);

  std::vector<Range> ranges_;  // Sorted, disjoint.
  std::vector<Name> names_;
  std::string text_;
};

}  // namespace hotpath
