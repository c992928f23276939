// The target of a request line: a path and a query, decoded.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/base/result.h"

namespace hotpath {

struct RequestTarget {
  std::string path;                                        // Decoded; begins with '/'.
  std::vector<std::pair<std::string, std::string>> query;  // Decoded, in the request's order.
};

// Takes "/path?key=value&key=value" apart. A '+' in the query is a space; a key without '=' has an
// empty value; empty pairs are skipped; anything after '#' is dropped.
// Errors: kMalformed for a target that does not begin with '/' ("http://host/..." included), a '%'
// without two hex digits, a NUL byte; kTooLarge past 100 pairs.
Result<RequestTarget> ParseRequestTarget(std::string_view target);

}  // namespace hotpath
