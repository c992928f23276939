// Names of one file's functions, sorted by address, in a form that is read in place.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/files/elf_file.h"
#include "daemon/files/unwind_table.h"

namespace hotpath {

struct IndexedSymbol {
  uint64_t address = 0;  // ELF virtual address of the function's first byte.
  uint64_t bytes = 0;
  // As in the symbol table (mangled; "memcpy@plt"), valid UTF-8 without control characters; empty:
  // only .eh_frame knows the function.
  std::string_view name;
};

// Builds the index: .symtab, .dynsym, .gnu_debugdata, `debug`'s .symtab, .gopclntab where there is
// no .symtab, PLT stubs, and the function ranges of .eh_frame (sorted) for what nothing names.
// Of several names for one address: a function's before a label's, one with a size, global before
// weak before local, fewer leading underscores, the shorter. A function of size 0 reaches to the
// next one, or the end of its .eh_frame range or section. A damaged source costs only its own
// names. The result is one flat byte string (header, sorted entries of 12 bytes, names): libLLVM-14
// has 140,000 functions. Code more than 4 GiB past the first function is left out. Errors:
// kMalformed when no source can be read, kTooLarge (past 512 MiB of names or 16 M symbols).
Result<std::string> BuildSymbolIndex(const ElfFile& elf, const ElfFile* debug,
                                     std::span<const FunctionRange> functions);

// Reads such a string, from a file of ours, mapped: it costs address space, and memory only where
// it is read. The file must not shrink while it is mapped (sealed memfd, or renamed into place).
// Bounds are checked on every look-up, so damaged bytes give no name, never a crash.
class SymbolIndex {
 public:
  // Maps `fd` (kept by the caller only until return). Errors: kMalformed, kSystem.
  static Result<SymbolIndex> Map(int fd);
  static Result<SymbolIndex> FromBytes(std::string bytes);

  SymbolIndex(SymbolIndex&&) noexcept;
  SymbolIndex& operator=(SymbolIndex&&) noexcept;
  ~SymbolIndex();

  // The function that covers `address`. O(log n). Thread-safe.
  std::optional<IndexedSymbol> Find(uint64_t address) const;
  size_t size() const;

 private:
  SymbolIndex() = default;
  // Checks the header against the size. Errors: kMalformed.
  Result<void> Adopt(const uint8_t* data, size_t bytes);
  uint32_t Word(size_t array, size_t index) const;
  std::string_view NameAt(uint32_t offset) const;

  const uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
  uint64_t base_ = 0;  // Entries' addresses count from here.
  size_t count_ = 0;
  std::string owned_;  // Holds the bytes when they are not mapped.
  bool mapped_ = false;
};

}  // namespace hotpath
