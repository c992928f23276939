// Which allocator a file holds, by its symbols and the version texts of its data.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "daemon/files/elf_file.h"

namespace hotpath {

// Symbols that tell one allocator from another, whatever names their malloc has.
bool TellsAllocator(std::string_view symbol);

// "glibc 2.36", "jemalloc 5.3.0", "gperftools 2.10", "tcmalloc", "mimalloc", "musl 1.2.3"; without
// the version where no text tells it; "unknown" where no name of `telling` is known. `telling`: the
// file's symbols that TellsAllocator().
std::string NameAllocator(const ElfFile& elf, const std::set<std::string, std::less<>>& telling);

}  // namespace hotpath
