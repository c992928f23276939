// The HTTP server: addresses in, requests to handlers, responses out.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "exporters/exporter.h"

namespace hotpath {

// Which handler answers which paths. The longest path that fits wins.
struct Route {
  std::string path;     // "/metrics"
  bool prefix = false;  // Also everything that begins with `path`.
  // Long requests (captures) and short ones have bounds of their own, so that /healthz and /metrics
  // answer however many captures are under way.
  bool long_running = false;
  std::shared_ptr<Handler> handler;  // Never null.
};

struct HttpServerOptions {
  std::string listen;       // "127.0.0.1:7878", "[::1]:0", ":7878"; empty: no TCP.
  std::string socket_path;  // Unix socket, mode 0660; empty: none.
  // The secret that TCP requests must show; Unix socket requests need none. Empty: no token, and
  // then only loopback addresses may be listened on.
  std::string token_file;
  size_t max_long_requests = 16;
  size_t max_short_requests = 16;
  size_t max_connections = 256;        // Of each, TCP and Unix socket.
  size_t max_connections_per_ip = 64;  // TCP only.
  size_t max_body_bytes = size_t{1} << 20;
  std::chrono::seconds request_timeout{30};  // For a whole request to arrive.
};

// Serves GET, HEAD and POST by libmicrohttpd: one epoll thread for TCP and one for the Unix socket
// move all bytes, so slow clients stall nobody; each request's handler runs on a thread of its own
// out of a bounded set while its connection is suspended; one more thread notices clients that go
// away. Request lines and headers together are at most 16 KiB. Blocks all signals in its threads.
class HttpServer {
 public:
  // Errors: those of ListenTcp, UnixListener and BearerToken; kInvalidArgument when neither address
  // nor socket is given, or an address beyond loopback has no token_file; kSystem.
  static Result<std::unique_ptr<HttpServer>> Start(HttpServerOptions options,
                                                   std::vector<Route> routes);
  ~HttpServer();

  uint16_t port() const;  // 0 when there is no TCP.

  // Reads token_file anew (SIGHUP); the old token holds when that fails. Errors: BearerToken's.
  Result<void> ReloadToken();

  // Cancels what is under way, sends what it still returns and closes. Within 1 s when handlers
  // heed `cancelled`; their threads are waited for in any case. Idempotent.
  void Stop();

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// An error as clients of pprof want it: text/plain, and for paths below /debug/pprof/ the header
// that makes pprof print the text.
HttpResponse HttpError(std::string_view path, int status, std::string message);

}  // namespace hotpath
