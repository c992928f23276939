// Two paths, one call.
#include "exporters/api/probe_switch.h"

#include <utility>

#include "exporters/api/json_response.h"

namespace hotpath::api {
namespace {

class ProbeSwitch : public Handler {
 public:
  explicit ProbeSwitch(std::function<void(bool)> set) : set_(std::move(set)) {}

  HttpResponse Handle(const HttpRequest& request) override {
    const bool on = request.path == "/api/v1/probes/on";
    if (!on && request.path != "/api/v1/probes/off") {
      return JsonResponse(404,
                          {{"error", request.path + ": not found: use /api/v1/probes/off or /on"}});
    }
    if (request.method != "POST") {
      HttpResponse refused = JsonResponse(405, {{"error", "switching probes takes a POST"}});
      refused.headers.emplace_back("Allow", "POST");
      return refused;
    }
    set_(on);
    return JsonResponse(200, {{"probes", on ? "on" : "off"}});
  }

 private:
  const std::function<void(bool)> set_;
};

}  // namespace

std::unique_ptr<Handler> ProbeSwitchHandler(std::function<void(bool on)> set) {
  return std::make_unique<ProbeSwitch>(std::move(set));
}

}  // namespace hotpath::api
