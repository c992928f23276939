// Names for the stubs through which a file calls other files: "memcpy@plt".
#pragma once

#include "daemon/base/result.h"
#include "daemon/files/elf_file.h"
#include "daemon/files/function_symbols.h"

namespace hotpath {

// Adds every stub of .plt, .plt.sec and .plt.got whose slot of the global offset table a relocation
// names (.rela.plt, .rela.dyn); stubs of indirect functions in static programs get the name of
// the resolver in `found`, where there is one. Errors: kMalformed, kTooLarge.
Result<void> AddPltSymbols(const ElfFile& elf, FunctionSymbols* found);

}  // namespace hotpath
