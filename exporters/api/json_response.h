// A JSON answer, of all that /api/v1 serves.
#pragma once

#include "exporters/exporter.h"
#include "exporters/report/header.h"

namespace hotpath::api {

inline HttpResponse JsonResponse(int status, const report::Json& json) {
  HttpResponse response;
  response.status = status;
  response.content_type = "application/json";
  response.headers.emplace_back("X-Content-Type-Options", "nosniff");
  response.body = report::Dump(json);
  return response;
}

}  // namespace hotpath::api
