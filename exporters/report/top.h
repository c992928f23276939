// The functions (lines, files, addresses) that cost most.
#pragma once

#include <string>
#include <vector>

#include "exporters/report/header.h"

namespace hotpath::report {

// A node of the graph with everything that is known of it, as a row of JSON or CSV.
Json NodeJson(const View& view, const Node& node);

// pprof's -top: header, then flat, flat%, sum%, cum, cum%, name.
std::string TopText(const View& view, const TrimOptions& trim);
// {"profile_type":..., "rows":[{"function":...}]}; rows as in TopText.
Json TopJson(const View& view, const TrimOptions& trim);
std::string TopCsv(const View& view, const TrimOptions& trim);

}  // namespace hotpath::report
