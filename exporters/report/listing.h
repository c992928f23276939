// Source code with the time spent on each line: pprof's -list.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "exporters/report/header.h"

namespace hotpath::report {

// Reads a source file's lines, given the path that the debug information names.
// Errors: kNotFound, kPermission, kTooLarge; the message goes into the listing.
using SourceReader = std::function<Result<std::vector<std::string>>(const std::string& path)>;

// Looks for an absolute path as it is, then for its tails ("src/main.c", "main.c") under each of
// `search_path` (directories separated by ':'); a relative path under each of them and the working
// directory. Files past 64 MiB are refused.
SourceReader DiskSources(std::string search_path);

// `view` must be of Granularity::kLine. Functions whose name matches `symbol`, each file of each:
// from 5 lines before the first sampled line (or where the function starts) to 5 past the last.
// Errors: kInvalidArgument (bad expression), kNotFound (nothing matches it).
Result<std::string> ListText(const View& view, const std::string& symbol,
                             const SourceReader& sources);
// {"routines":[{"function","file","flat","cum","error","lines":[{"line","flat","cum","source"}]}]}
Result<Json> ListJson(const View& view, const std::string& symbol, const SourceReader& sources);
Result<std::string> ListCsv(const View& view, const std::string& symbol,
                            const SourceReader& sources);

}  // namespace hotpath::report
