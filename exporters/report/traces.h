// Every stack of a profile with its labels, as pprof's -traces; and every field, as its -raw.
#pragma once

#include <string>

#include "exporters/report/header.h"

namespace hotpath::report {

std::string TracesText(const View& view);
// {"traces":[{"value":..., "labels":{...}, "frames":[{"function","file","line","inlined"}]}]}
Json TracesJson(const View& view);
// value,labels,stack: frames joined by ';', root first.
std::string TracesCsv(const View& view);

// Of the profile as it is, unfiltered and unmerged.
std::string RawText(const pprof::Profile& profile);
Json RawJson(const pprof::Profile& profile);
// One line a sample: its values, its location ids (leaf first), its labels.
std::string RawCsv(const pprof::Profile& profile);

}  // namespace hotpath::report
