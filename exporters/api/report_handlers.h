// JSON reports over HTTP: /api/v1/top, /api/v1/quality, /api/v1/diff.
#pragma once

#include <functional>
#include <memory>

#include "daemon/base/result.h"
#include "exporters/exporter.h"
#include "exporters/pprof/profile.h"

namespace hotpath::api {

// Takes the profile that a request's parameters ask for (type, seconds, hz, pid, ...). Blocks for
// as long as the capture takes; thread-safe.
using CaptureProfile = std::function<Result<pprof::Profile>(const HttpRequest& request)>;

// The same parameters as the client's flags, with their names: sample_type, by, n, cum, focus,
// ignore, hide, show, tagfocus and tagignore (may be repeated), tagroot. n defaults to 20, 0 is
// all. An error is {"error": "..."} with status 400, 403, 404, 500, 503 or 504 by its code.
std::unique_ptr<Handler> TopHandler(CaptureProfile capture);

// min_complete and min_named turn a profile under them into status 422, with the same body.
std::unique_ptr<Handler> QualityHandler(CaptureProfile capture);

// Captures the base first, then the new profile. A parameter base_NAME replaces NAME for the base;
// where there is one, both are captured at the same time (two processes over one interval).
std::unique_ptr<Handler> DiffHandler(CaptureProfile capture);

}  // namespace hotpath::api
