// The parameters of /debug/pprof/profile.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/profile/capture.h"
#include "exporters/pprof/labels.h"

namespace hotpath::pprof {

struct ProfileQuery {
  CaptureRequest request;
  std::vector<LabelMatch> matches;  // Labels that the capture does not filter by.
};

// seconds: as Go reads it, 30 when absent, no whole number or not positive; 3600 at most.
// hz: 1 to 999, 99 when absent. pid: repeatable, comma separated. comm: a regular expression. exe,
// cgroup: as in CaptureFilter. Any other label by its name, exactly; repeated values are
// alternatives. An empty value counts as absent, `debug` is ignored as Go does.
// Errors: kInvalidArgument naming the parameter, and for unknown ones those that are known.
Result<ProfileQuery> ParseProfileQuery(
    const std::vector<std::pair<std::string, std::string>>& query);

}  // namespace hotpath::pprof
