// One HTTP GET, over TCP or a Unix socket.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "daemon/base/result.h"

namespace hotpath::cli {

struct HttpGet {
  std::string url;          // http or https.
  std::string unix_socket;  // Path; empty: TCP.
  std::chrono::milliseconds timeout{65'000};
  size_t max_bytes = size_t{1} << 30;
  // Called a few times a second while waiting; may be empty.
  std::function<void()> on_progress;
};
struct HttpReply {
  int status = 0;
  std::string content_type;
  bool is_pprof_error = false;  // Header X-Go-Pprof: the body is a message for the user.
  std::string body;
};

// Any status is a reply. Redirects are not followed.
// Errors: kUnavailable (nothing listens, name unknown, connection broke), kTimeout, kTooLarge,
// kInvalidArgument (no such scheme, malformed URL).
Result<HttpReply> Get(const HttpGet& request);

}  // namespace hotpath::cli
