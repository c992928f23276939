// A window of raw frames becomes a pprof profile.
#pragma once

#include <string>
#include <vector>

#include "daemon/profile/window.h"
#include "daemon/symbolize/symbolizer.h"
#include "exporters/pprof/labels.h"
#include "exporters/pprof/profile.h"

namespace hotpath::pprof {

// Where the profile was taken, for its comments and its first mapping.
struct ProfileContext {
  std::string host;     // "node1"
  std::string kernel;   // Release: "6.1.0-37-amd64"
  std::string version;  // Of hotpathd: "0.1.0"
};

// Symbolizes every distinct frame once and writes down what the window holds.
//
// Mapping 0 is the target's main binary when the window is of one process, else "[host:NAME]". Lost
// samples are stacks of one frame, unless the window holds only some processes. The first
// comment is "host=… kernel=… hz=… lost=… complete=… hotpathd=…", then "cpu_seconds_kernel=…" when
// it is known, "samples=…" of a type whose values are estimates, what the capture and the type have
// to say, then for each of the 200 files with most frames
// "#file=… build_id=… table=… rows=… frames=… failed=…": frames and failed walks count samples.
// White space in a value is written as "_", so that a comment splits at spaces.
// Only rows that hold all of `matches` are kept.
Profile FromWindow(const Window& window, Symbolizer& symbolizer, const ProfileContext& context,
                   const std::vector<LabelMatch>& matches = {});

}  // namespace hotpath::pprof
