// Decompression of gzip bytes that nobody vouches for.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "daemon/base/result.h"

namespace hotpath::pprof {

// True when `bytes` begin as a gzip member does.
bool IsGzip(std::string_view bytes);

// All members of `bytes`, one after the other. The size in the trailer is a hint only.
// Errors: kMalformed; kTooLarge when more than `max_bytes` come out.
Result<std::string> Gunzip(std::string_view bytes, size_t max_bytes);

}  // namespace hotpath::pprof
