// The build IDs that an ELF file's notes hold.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace hotpath {

// Lower-case hex; empty when there is none.
struct BuildIds {
  std::string gnu;
  std::string go;  // Of the text in Go's own note, a hash of as many digits as GNU's.
};

// Walks a run of notes, aligned to 8 or else to 4 bytes, and adds what `found` lacks. Stops at the
// first that does not fit.
void FindBuildIds(std::span<const uint8_t> notes, uint64_t alignment, BuildIds& found);

}  // namespace hotpath
