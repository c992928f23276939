// The two ways data leaves: somebody asks over HTTP (Handler), or we send (Pusher).
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "daemon/profile/window.h"

namespace hotpath {

struct HttpRequest {
  std::string method;                                      // "GET", "HEAD", "POST"
  std::string path;                                        // Decoded, without the query.
  std::vector<std::pair<std::string, std::string>> query;  // Decoded, in the request's order.
  std::string body;
  std::map<std::string, std::string> headers;  // Keys in lower case.
  // Set when the client has gone away: work for it may stop.
  std::shared_ptr<std::atomic<bool>> cancelled;

  // First value of `key`; nullopt when absent.
  std::optional<std::string> Query(std::string_view key) const {
    for (const auto& [name, value] : query) {
      if (name == key) return value;
    }
    return std::nullopt;
  }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// Answers requests of one or more paths. Called on a thread of the request's own, so it may block
// for as long as the request asks; must be thread-safe.
class Handler {
 public:
  virtual ~Handler() = default;
  virtual HttpResponse Handle(const HttpRequest& request) = 0;
};

// Is given each closed window. Must not block: it queues.
class Pusher {
 public:
  virtual ~Pusher() = default;
  virtual void Push(std::shared_ptr<const Window> window) = 0;
};

}  // namespace hotpath
