// The functions that a file's symbol tables name, before they become an index.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/files/elf_file.h"

namespace hotpath {

// How far a name is to be trusted; of two names for one address the lower value wins.
enum class SymbolRank : uint8_t {
  kGlobal,
  kWeak,
  kLocal,
  kStub,     // Ours: "memcpy@plt".
  kNoType,   // A label of hand-written assembly; only where no function lies.
  kUnnamed,  // A range of .eh_frame; only where nothing else lies.
};

struct FunctionSymbol {
  uint64_t address = 0;
  uint64_t bytes = 0;  // 0: up to the next one.
  std::string_view name;
  SymbolRank rank = SymbolRank::kLocal;
  bool indirect = false;  // STT_GNU_IFUNC: the address is that of its resolver.
};

// Symbols of one file and the bytes their names point into.
struct FunctionSymbols {
  static constexpr size_t kMaxSymbols = 16'000'000;
  static constexpr size_t kMaxNameBytes = 16 * 1024;  // Of one name; longer ones are cut.

  std::vector<FunctionSymbol> symbols;          // In no order; duplicates possible.
  std::deque<std::vector<uint8_t>> name_bytes;  // A deque, so that views stay valid.

  // Keeps `bytes` for as long as this lives.
  std::string_view Keep(std::vector<uint8_t> bytes);
};

// The addresses that hold code: executable sections, or segments in a file without sections.
class CodeMap {
 public:
  struct Range {
    uint64_t begin, end;
  };
  explicit CodeMap(const ElfFile& elf);
  explicit CodeMap(std::vector<Range> ranges);
  // nullptr where no code is.
  const Range* Find(uint64_t address) const;

 private:
  std::vector<Range> ranges_;  // Sorted, disjoint.
};

// Adds what `section` (".symtab" or ".dynsym") of `elf` defines inside `code`; nothing when the
// file has no such section. Errors: kMalformed when the table or its strings cannot be read;
// kTooLarge past kMaxSymbols.
Result<void> AddSymbolTable(const ElfFile& elf, std::string_view section, const CodeMap& code,
                            FunctionSymbols* found);

}  // namespace hotpath
