// The kill switch: POST /api/v1/probes/off and /api/v1/probes/on.
#pragma once

#include <functional>
#include <memory>

#include "exporters/exporter.h"

namespace hotpath::api {

// Calls `set(on)` for a POST, and answers {"probes": "off"} once no probe is in place. Anything but
// a POST is 405, another path under /api/v1/probes 404. `set` is thread-safe and returns in 100 ms.
std::unique_ptr<Handler> ProbeSwitchHandler(std::function<void(bool on)> set);

}  // namespace hotpath::api
