// From the named functions of a file to their probes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/placement/placement.h"
#include "daemon/placement/program_code.h"

namespace hotpath {

// A symbol of AllocatorSymbols() that a file defines.
struct NamedFunction {
  std::string name;
  uint64_t address = 0;
  uint64_t bytes = 0;     // 0: not known.
  bool exported = false;  // In .dynsym.
  bool indirect = false;  // An IFUNC: the address is that of its resolver.
};

// Finds the sites of all of them. Names that AllocatorSymbols() does not have are left out; names
// of one address become one function. Never fails: what cannot be shown is kRefused, with why.
std::vector<ProbedFunction> PlaceFunctions(const ProgramCode& code,
                                           const std::vector<NamedFunction>& functions);

}  // namespace hotpath
