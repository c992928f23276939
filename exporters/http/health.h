// /healthz and /readyz: is the daemon alive, does it sample.
#pragma once

#include <functional>

#include "daemon/base/result.h"
#include "exporters/exporter.h"

namespace hotpath {

// 200 "ok" while the check succeeds, else 503 with its reason. Without a check it always does:
// that the server answers is what /healthz says.
class HealthHandler : public Handler {
 public:
  explicit HealthHandler(std::function<Result<void>()> check = {}) : check_(std::move(check)) {}

  HttpResponse Handle(const HttpRequest&) override {
    HttpResponse response{.headers = {{"X-Content-Type-Options", "nosniff"}}, .body = "ok\n"};
    if (!check_) return response;
    if (const Result<void> checked = check_(); !checked) {
      response.status = 503;
      response.body = checked.error().message + "\n";
    }
    return response;
  }

 private:
  const std::function<Result<void>()> check_;  // Thread-safe.
};

}  // namespace hotpath
