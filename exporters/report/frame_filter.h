// Which frames and samples stay: pprof's focus, ignore, hide and show.
#pragma once

#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "exporters/pprof/profile.h"

namespace hotpath::report {

struct FrameFilterOptions {
  std::string focus, ignore, hide, show;  // Regular expressions; empty: not asked for.
};

// Changes `profile` in place. An expression matches a frame by its function's name, its source file
// or its mapping's file. Appends to `remarks` a line for each expression that matched nothing.
// Errors: kInvalidArgument naming the option whose expression does not parse.
Result<void> FilterFrames(pprof::Profile& profile, const FrameFilterOptions& options,
                          std::vector<std::string>& remarks);

}  // namespace hotpath::report
