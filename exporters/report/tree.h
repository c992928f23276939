// Callers above, callees below: pprof's peek (some functions) and tree (all of them).
#pragma once

#include <string>

#include "daemon/base/result.h"
#include "exporters/report/header.h"

namespace hotpath::report {

// `symbol`: only nodes whose printed name matches the expression; empty: all nodes.
// Errors: kInvalidArgument (bad expression), kNotFound (nothing matches it).
Result<std::string> TreeText(const View& view, const TrimOptions& trim, const std::string& symbol);
// Rows as in TopJson with "callers" and "callees": [{"function","value","ratio","inlined"}].
Result<Json> TreeJson(const View& view, const TrimOptions& trim, const std::string& symbol);
// caller,callee,value,inlined of each edge at a shown node.
Result<std::string> TreeCsv(const View& view, const TrimOptions& trim, const std::string& symbol);

}  // namespace hotpath::report
