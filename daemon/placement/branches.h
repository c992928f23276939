// Who branches where: what could reach a probe without the entry before it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "daemon/placement/program_code.h"

namespace hotpath {

// The branches of one function, decoded from its first byte to its last.
struct FunctionBranches {
  bool whole = false;            // Every byte decoded, and the function is not too large.
  bool jumps_by_table = false;   // Some targets are not known.
  std::vector<uint64_t> inside;  // Targets of jumps and branches within the function.
};
FunctionBranches ReadBranches(const ProgramCode& code, uint64_t begin, uint64_t bytes);

// The bytes behind an entry, up to and with the first byte of the last probe.
struct Window {
  uint64_t begin, end;  // Addresses, begin <= end, both inside.
};

// Addresses in `windows` that some jump, branch or call with a 32-bit distance, anywhere in the
// file, leads to. It looks at every byte, so it sees cold parts of functions and code that no table
// tells of; a chance match inside another instruction is left out where the table of functions
// shows that it is one. About 1 GB/s.
std::vector<uint64_t> LandingsIn(const ProgramCode& code, std::vector<Window> windows);

// Addresses that code reachable from `entry` calls or jumps to and that `stops` names, or where a
// stub begins. Calls to other code of the file are followed to `depth`. At most some 20,000
// instructions; what lies behind a table or a pointer is not seen.
std::vector<uint64_t> EntersOf(const ProgramCode& code, uint64_t entry,
                               std::span<const uint64_t> stops, unsigned depth);

}  // namespace hotpath
