// What stands above a report: the profile's type, time, duration and how much of it is shown.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "exporters/report/graph.h"
#include "exporters/report/view.h"

namespace hotpath::report {

// Keys stay in the order in which they were written.
using Json = nlohmann::ordered_json;

// File, Build ID, comments, Type, Time, Duration: pprof's lines. `unit` is OutputUnit()'s.
std::vector<std::string> ProfileLabels(const View& view, const std::string& unit);

// ProfileLabels(), the active filters, and "Showing nodes accounting for ...".
std::vector<std::string> GraphLabels(const View& view, const Graph& graph, const TrimOptions& trim,
                                     const std::string& unit);

// The keys that all JSON reports share: profile_type, sample_type, unit, period, start_ns,
// duration_ns, total, samples, interval95.
Json JsonHeader(const View& view);

// One line and a newline. Names from foreign files that are no UTF-8 get U+FFFD.
std::string Dump(const Json& json);

std::string Lines(const std::vector<std::string>& lines);

// null for an empty text: absent values have no magic form.
Json TextOrNull(const std::string& text);

// value / total; 0 where there is no total.
double Ratio(int64_t value, int64_t total);

// Last component of a path.
std::string Basename(const std::string& path);

}  // namespace hotpath::report
