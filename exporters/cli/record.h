// `hotpath record`: the daemon's own pipeline, in this process, for as long as asked.
#pragma once

#include "exporters/cli/record_options.h"

namespace hotpath::cli {

// Records, writes the profile and returns the exit code: the command's when there is one, else 0;
// 1 with a line on stderr when it cannot. SIGINT ends it early, and keeps what there is.
int Record(const RecordOptions& options);

}  // namespace hotpath::cli
