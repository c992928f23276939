// /metrics: what all sources count, in Prometheus' text format.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/base/metrics.h"
#include "exporters/exporter.h"

namespace hotpath {

// Asks every source at each scrape. Families of one name are joined, whatever is not allowed in a
// name becomes '_', and text is made UTF-8 of one line, so that no source can break the scrape.
// Thread-safe. prometheus-cpp's core writes the text (version 0.0.4); serving is ours, since its
// own server knows neither IPv6 nor Unix sockets and is stalled by slow clients.
class Metrics : public Handler {
 public:
  // Sources must not be null.
  explicit Metrics(std::vector<std::shared_ptr<MetricsSource>> sources)
      : sources_(std::move(sources)) {}

  HttpResponse Handle(const HttpRequest& request) override;
  std::string Text() const;

 private:
  const std::vector<std::shared_ptr<MetricsSource>> sources_;
};

}  // namespace hotpath
