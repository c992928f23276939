// What this process itself costs, under the names every Prometheus client uses.
#pragma once

#include <string>
#include <vector>

#include "daemon/base/metrics.h"

namespace hotpath {

// process_cpu_seconds_total, process_resident_memory_bytes, process_virtual_memory_bytes,
// process_open_fds, process_max_fds, process_threads, process_start_time_seconds. One that cannot
// be read is left out. Thread-safe.
class ProcessMetrics : public MetricsSource {
 public:
  explicit ProcessMetrics(std::string proc = "/proc") : proc_(std::move(proc)) {}
  std::vector<MetricFamily> Collect() override;

 private:
  const std::string proc_;
};

}  // namespace hotpath
