// .gopclntab: the function table that every Go binary carries, also when it is stripped.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/files/elf_file.h"
#include "daemon/files/function_symbols.h"

namespace hotpath {

// One function of the table; the name points into the table's bytes.
struct GoFunction {
  uint64_t address;
  uint64_t bytes;
  std::string_view name;  // "main.(*T).Work", as the linker wrote it.
};

// Parses the table of Go 1.16, 1.18 and 1.20+ (told apart by their magic numbers). `text_start` is
// used where the header holds 0 (Go 1.26; position-independent binaries). Functions are in the
// table's order; those outside its bounds are left out.
// Errors: kUnsupported for an unknown magic number (Go before 1.16), kMalformed, kTooLarge.
Result<std::vector<GoFunction>> ParseGopclntab(std::span<const uint8_t> table, uint64_t text_start);

// Adds the functions of `elf`; nothing when it has no such table. Errors as above.
Result<void> AddGoFunctions(const ElfFile& elf, const CodeMap& code, FunctionSymbols* found);

}  // namespace hotpath
