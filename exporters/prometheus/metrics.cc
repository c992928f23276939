// /metrics: what all sources count, in Prometheus' text format.
#include "exporters/prometheus/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

#include "daemon/base/utf8.h"

namespace hotpath {
namespace {

// Letters, digits and '_', and ':' where allowed; not a digit first.
std::string Name(std::string_view name, bool colons) {
  std::string valid(name);
  std::ranges::replace_if(
      valid,
      [&](char c) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        return !letter && !(c >= '0' && c <= '9') && !(colons && c == ':');
      },
      '_');
  if (valid.empty() || (valid.front() >= '0' && valid.front() <= '9')) valid.insert(0, 1, '_');
  return valid;
}

// The serializer writes help as it is, where '\' and newlines must be escaped.
std::string Help(std::string_view help) {
  std::string escaped;
  for (const char c : ToUtf8(help)) {
    if (c == '\\') {
      escaped += "\\\\";
    } else if (c == '\n') {
      escaped += "\\n";
    } else if (c != '\r') {
      escaped += c;
    }
  }
  return escaped;
}

// Labels sorted by name, each name once: equal for equal series.
std::vector<prometheus::ClientMetric::Label> Labels(const MetricSample& sample) {
  std::map<std::string, std::string> sorted;
  for (const auto& [name, value] : sample.labels) {
    sorted.try_emplace(Name(name, false), ToUtf8(value));
  }
  std::vector<prometheus::ClientMetric::Label> labels;
  for (auto& [name, value] : sorted) {
    prometheus::ClientMetric::Label label;
    label.name = name;
    label.value = std::move(value);
    labels.push_back(std::move(label));
  }
  return labels;
}

void Add(prometheus::MetricFamily& family, const MetricSample& sample) {
  prometheus::ClientMetric metric;
  metric.label = Labels(sample);
  // A series that is there twice makes Prometheus refuse the scrape.
  const bool known = std::ranges::any_of(
      family.metric, [&](const auto& other) { return other.label == metric.label; });
  if (known) return;
  if (family.type == prometheus::MetricType::Counter) {
    metric.counter.value = sample.value;
  } else {
    metric.gauge.value = sample.value;
  }
  family.metric.push_back(std::move(metric));
}

}  // namespace

std::string Metrics::Text() const {
  std::map<std::string, prometheus::MetricFamily> families;
  for (const std::shared_ptr<MetricsSource>& source : sources_) {
    for (const MetricFamily& family : source->Collect()) {
      std::string name = Name(family.name, true);
      prometheus::MetricFamily& joined = families[name];
      if (joined.name.empty()) {
        joined.name = std::move(name);
        joined.help = Help(family.help);
        joined.type = family.type == MetricFamily::Type::kCounter ? prometheus::MetricType::Counter
                                                                  : prometheus::MetricType::Gauge;
      }
      for (const MetricSample& sample : family.samples) Add(joined, sample);
    }
  }
  std::vector<prometheus::MetricFamily> sorted;
  for (auto& [name, family] : families) {
    if (!family.metric.empty()) sorted.push_back(std::move(family));
  }
  return prometheus::TextSerializer().Serialize(sorted);
}

HttpResponse Metrics::Handle(const HttpRequest&) {
  // Prometheus 3 refuses a scrape whose type has no version.
  return {
      .content_type = "text/plain; version=0.0.4; charset=utf-8", .headers = {}, .body = Text()};
}

}  // namespace hotpath
