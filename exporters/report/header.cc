// Header lines as pprof prints them, and the same facts as JSON.
#include "exporters/report/header.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <optional>

#include "exporters/report/unit.h"

namespace hotpath::report {
namespace {

std::string LocalTime(int64_t unix_ns) {
  const auto seconds = static_cast<time_t>(unix_ns / 1'000'000'000);
  tm broken{};
  localtime_r(&seconds, &broken);
  char text[64];
  return {text, strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %Z", &broken)};
}

// "interval95=LO,HI" among the words of the comments: of the total in the default sample type.
std::optional<Json> TotalInterval(const pprof::Profile& profile) {
  constexpr std::string_view kKey = "interval95=";
  for (const std::string& comment : profile.comments) {
    const size_t at = comment.find(kKey);
    if (at == std::string::npos || (at > 0 && comment[at - 1] != ' ')) continue;
    const char* text = comment.c_str() + at + kKey.size();
    char* end = nullptr;
    const double low = std::strtod(text, &end);
    if (end == text || *end != ',') continue;
    text = end + 1;
    const double high = std::strtod(text, &end);
    if (end == text || !std::isfinite(low)) continue;
    return Json::array({low, std::isfinite(high) ? Json(high) : Json()});
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> ProfileLabels(const View& view, const std::string& unit) {
  const pprof::Profile& profile = view.profile;
  std::vector<std::string> labels;
  if (!profile.mappings.empty()) {
    const pprof::Mapping& first = profile.mappings.front();
    if (!first.file.empty()) labels.push_back("File: " + Basename(first.file));
    if (!first.build_id.empty()) labels.push_back("Build ID: " + first.build_id);
  }
  for (const std::string& comment : profile.comments) {
    // What `quality` reads about each file would fill the screen here.
    if (!comment.starts_with('#') && !comment.starts_with("file=")) labels.push_back(comment);
  }
  if (!view.type.empty()) labels.push_back("Type: " + view.type);
  if (profile.time_ns != 0) labels.push_back("Time: " + LocalTime(profile.time_ns));
  if (profile.duration_ns != 0) {
    const ScaledValue total = Scale(view.total, view.unit, "nanoseconds");
    std::string share;
    if (total.unit == "ns" && total.value != 0) {
      share = "(" + Percentage(static_cast<int64_t>(total.value), profile.duration_ns) + ")";
    }
    labels.push_back(fmt::format("Duration: {}, Total samples = {} {}",
                                 ScaledLabel(profile.duration_ns, "nanoseconds", "auto"),
                                 ScaledLabel(view.total, view.unit, unit), share));
  }
  return labels;
}

std::vector<std::string> GraphLabels(const View& view, const Graph& graph, const TrimOptions& trim,
                                     const std::string& unit) {
  constexpr size_t kLongestFilter = 80;
  std::vector<std::string> labels = ProfileLabels(view, unit);
  if (!view.active_filters.empty()) labels.emplace_back("Active filters:");
  for (const std::string& filter : view.active_filters) {
    labels.push_back("   " + filter.substr(0, kLongestFilter) +
                     (filter.size() > kLongestFilter ? "…" : ""));
  }
  const int64_t shown = graph.FlatSum();
  labels.push_back(fmt::format(
      "Showing nodes accounting for {}, {} of {} total", ScaledLabel(shown, view.unit, unit),
      TrimmedPercentage(shown, view.total), ScaledLabel(view.total, view.unit, unit)));
  if (view.total == 0) return labels;
  if (graph.dropped_nodes > 0) {
    const auto cutoff = static_cast<int64_t>(static_cast<double>(view.total) * trim.node_fraction);
    labels.push_back(fmt::format("Dropped {} node{} (cum <= {})", graph.dropped_nodes,
                                 graph.dropped_nodes > 1 ? "s" : "",
                                 ScaledLabel(std::abs(cutoff), view.unit, unit)));
  }
  if (!graph.nodes.empty() && graph.nodes.size() < graph.original_count) {
    labels.push_back(
        fmt::format("Showing top {} nodes out of {}", graph.nodes.size(), graph.original_count));
  }
  return labels;
}

Json JsonHeader(const View& view) {
  const pprof::Profile& profile = view.profile;
  Json json;
  json["profile_type"] = TextOrNull(ProfileTypeName(profile));
  json["sample_type"] = view.type;
  json["unit"] = view.unit;
  json["period"] = profile.period != 0 ? Json(profile.period) : Json();
  json["start_ns"] = profile.time_ns != 0 ? Json(profile.time_ns) : Json();
  json["duration_ns"] = profile.duration_ns != 0 ? Json(profile.duration_ns) : Json();
  json["total"] = view.total;
  json["samples"] = EventCount(profile);
  const auto default_type = SampleTypeIndex(profile, "");
  const auto interval = TotalInterval(profile);
  json["interval95"] =
      interval && default_type && *default_type == view.value_index ? *interval : Json();
  return json;
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string Lines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

Json TextOrNull(const std::string& text) { return text.empty() ? Json() : Json(text); }

double Ratio(int64_t value, int64_t total) {
  return total == 0 ? 0 : static_cast<double>(value) / static_cast<double>(total);
}

std::string Basename(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace hotpath::report
