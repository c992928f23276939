// What a part of the daemon counts, as data: whoever serves metrics asks for it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace hotpath {

// One time series' value now.
struct MetricSample {
  std::vector<std::pair<std::string, std::string>> labels;  // {{"reason", "ring buffer full"}}
  double value = 0;
};

// All series of one name.
struct MetricFamily {
  enum class Type : uint8_t {
    kCounter,  // Only grows; the name ends in "_total".
    kGauge,
  };
  std::string name;  // "hotpathd_lost_samples_total": base units, plural, unit last.
  std::string help;  // One sentence.
  Type type = Type::kCounter;
  // Every combination of labels from the start, at 0, so that rates see the first step.
  std::vector<MetricSample> samples;
};

// Implemented by whoever counts. Collect() is called at each scrape, on any thread; it must be
// thread-safe and take milliseconds at most.
class MetricsSource {
 public:
  virtual ~MetricsSource() = default;
  virtual std::vector<MetricFamily> Collect() = 0;
};

}  // namespace hotpath
