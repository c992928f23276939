// The bytes of a symbol index: header, three arrays of 32-bit words, names.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hotpath {

// Followed by `count` start addresses (sorted, relative to `base`), `count` sizes and `count` name
// offsets, then `name_bytes` of names, each a 16-bit length and its bytes. Name 0 is the empty one.
// Arrays rather than entries: a look-up touches the pages of the starts alone.
struct SymbolIndexHeader {
  uint64_t magic = 0x31307865646e4953;  // "SIndex01"
  uint64_t base = 0;                    // ELF virtual address of the first function.
  uint32_t count = 0;
  uint32_t name_bytes = 0;
};
static_assert(sizeof(SymbolIndexHeader) == 24);

inline constexpr size_t kSymbolIndexArrays = 3;
inline constexpr size_t kMaxSymbolNameBytes = size_t{512} << 20;

}  // namespace hotpath
