// `hotpath probes`: asks the daemon's own placement, in this process.
#pragma once

#include <vector>

#include "daemon/base/result.h"
#include "exporters/cli/probe_table.h"

namespace hotpath::cli {

// One table for a file; one for each file with an allocator of a process, the live ones first, with
// the functions whose bytes in memory differ as refused.
// Errors: as AllocatorFinder::Find() and FileWorker::Place(); kNotFound for a file that is not
// there.
Result<std::vector<ProbeTable>> FindProbes(const ProbeTarget& target);

}  // namespace hotpath::cli
