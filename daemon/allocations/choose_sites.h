// Which of an allocator's places are probed to count what is allocated, each call once.
#pragma once

#include <vector>

#include "daemon/collect/alloc_probes.h"
#include "daemon/placement/placement.h"

namespace hotpath {

struct ChosenSites {
  std::vector<AllocSite> sites;
  std::vector<const ProbedFunction*> functions;  // Whose they are; of the placement given.
};

// Of the functions that allocate, those whose site is emulated. A function that calls another of
// them would be counted twice: it is left out, but for
//   realloc        realloc(NULL, n) is malloc(n), and is skipped;
//   memalign etc.  alignments that malloc gives anyway are malloc(n), and are skipped.
// Empty: this file offers no place.
ChosenSites ChooseAllocSites(const Placement& placement);

}  // namespace hotpath
