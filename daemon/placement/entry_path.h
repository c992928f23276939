// The straight line on which every call enters a function, and the places on it for a probe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "daemon/placement/placement.h"
#include "daemon/placement/program_code.h"

namespace hotpath {

// An emulated instruction that every call passes with its arguments in registers.
struct Candidate {
  ProbeSite site;
  size_t index = 0;  // Which instruction of the path it is.
  bool is_call = false;
};

struct EntryPath {
  std::vector<Candidate> candidates;  // In order.
  std::optional<ProbeSite> entry;     // The first instruction, where stepping it is safe.
  std::string end;                    // Why there are no candidates behind the last one.
};

// Follows the code from `address` for at most ProbeRules' bounds and not past `end`, keeping
// account of where the arguments of `call` are and of rsp. It ends at the first instruction behind
// which not every call goes on. A conditional branch is passed by all; what lies behind it only
// where its target returns at once without a store, so that a call that takes it does no work.
EntryPath FollowEntry(const ProgramCode& code, uint64_t address, uint64_t end, AllocatorCall call);

}  // namespace hotpath
