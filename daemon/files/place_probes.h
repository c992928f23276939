// Finds the allocator's functions in an ELF file, and where probes may sit in them.
#pragma once

#include "daemon/base/result.h"
#include "daemon/files/elf_file.h"
#include "daemon/placement/placement.h"

namespace hotpath {

constexpr uint64_t kMaxPlacementCodeBytes = uint64_t{256} << 20;

// Reads .symtab and .dynsym for the names that AllocatorSymbols() lists, then decodes. A file
// without such names gives no functions and no error. Reads all of the file's code when it has one:
// libc took 40 ms, libjemalloc with its 36 functions 100 ms. Errors: kMalformed where tables or
// code cannot be read; kTooLarge past kMaxPlacementCodeBytes of code.
Result<Placement> PlaceProbes(const ElfFile& elf);

}  // namespace hotpath
