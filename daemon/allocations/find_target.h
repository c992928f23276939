// From a process to the places in it that are probed.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/allocators/allocator_finder.h"
#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/collect/alloc_probes.h"

namespace hotpath {

struct FoundTarget {
  AllocTarget target;     // Its descriptor is `file`'s.
  Fd file;                // The allocator's.
  std::string allocator;  // "glibc 2.36"
  std::string path;       // As the process sees it.
};

// The process's live allocator, with places whose bytes in memory are those that were decoded. Not
// while probes of ours are on it: they are other bytes.
// Errors: as AllocatorFinder::Find and VerifyMapped; kNotFound: no live allocator has a place that
// could be shown to be right; kPermission.
Result<FoundTarget> FindAllocTarget(AllocatorFinder& finder, uint32_t pid);

}  // namespace hotpath
