// Prints stacks, one frame a line.
#include "exporters/report/traces.h"

#include <fmt/format.h>

#include <algorithm>

#include "exporters/report/csv.h"
#include "exporters/report/unit.h"

namespace hotpath::report {
namespace {

constexpr std::string_view kSeparator =
    "-----------+-------------------------------------------------------\n";

struct StackFrame {
  NodeInfo info;
  bool inlined = false;
};

// Leaf first; empty when the sample has no frames left.
std::vector<StackFrame> Frames(const pprof::Profile& profile, const pprof::Sample& sample) {
  std::vector<StackFrame> frames;
  for (const uint32_t index : sample.locations) {
    const pprof::Location& location = profile.locations[index];
    if (location.lines.empty()) {
      NodeInfo info;
      info.address = location.address;
      if (location.mapping >= 0) info.object = profile.mappings[location.mapping].file;
      frames.push_back({std::move(info), false});
    }
    for (size_t i = 0; i < location.lines.size(); ++i) {
      const pprof::Function& function = profile.functions[location.lines[i].function];
      NodeInfo info;
      info.name = function.name;
      info.address = location.address;
      info.file = function.file;
      info.line = location.lines[i].line;
      if (info.name.empty() && location.mapping >= 0) {
        info.object = profile.mappings[location.mapping].file;
      }
      frames.push_back({std::move(info), i + 1 != location.lines.size()});
    }
  }
  return frames;
}

// "key:  value" lines: texts first, then numbers, each sorted.
std::string LabelLines(const View& view, const pprof::Sample& sample) {
  std::vector<std::string> texts, numbers;
  for (const pprof::Label& label : sample.labels) {
    if (!label.str.empty()) {
      texts.push_back(fmt::format("{:>10}:  {}\n", label.key, label.str));
      continue;
    }
    const auto unit = view.label_units.find(label.key);
    numbers.push_back(fmt::format(
        "{:>10}:  {}\n", label.key,
        ScaledLabel(label.num, unit == view.label_units.end() ? "" : unit->second, "auto")));
  }
  std::ranges::sort(texts);
  std::ranges::sort(numbers);
  std::string lines;
  for (const auto* group : {&texts, &numbers}) {
    for (const std::string& line : *group) lines += line;
  }
  return lines;
}

Json LabelsJson(const pprof::Sample& sample) {
  Json labels = Json::object();
  for (const pprof::Label& label : sample.labels) {
    labels[label.key] = label.str.empty() ? Json(label.num) : Json(label.str);
  }
  return labels;
}

std::string LabelsCell(const pprof::Sample& sample) {
  std::string cell;
  for (const pprof::Label& label : sample.labels) {
    cell += fmt::format("{}{}={}", cell.empty() ? "" : ";", label.key,
                        label.str.empty() ? fmt::format("{}", label.num) : label.str);
  }
  return cell;
}

}  // namespace

std::string TracesText(const View& view) {
  std::string text = Lines(ProfileLabels(view, "minimum"));
  for (const pprof::Sample& sample : view.profile.samples) {
    const std::vector<StackFrame> frames = Frames(view.profile, sample);
    if (frames.empty()) continue;
    text += kSeparator;
    text += LabelLines(view, sample);
    std::string value = ScaledLabel(view.Value(sample), view.unit, "minimum");
    for (const StackFrame& frame : frames) {
      text += fmt::format("{:>10}   {}{}\n", value, frame.info.PrintableName(),
                          frame.inlined ? " (inline)" : "");
      value.clear();
    }
  }
  text += kSeparator;
  return text;
}

Json TracesJson(const View& view) {
  Json json = JsonHeader(view);
  json["traces"] = Json::array();
  for (const pprof::Sample& sample : view.profile.samples) {
    Json trace;
    trace["value"] = view.Value(sample);
    trace["labels"] = LabelsJson(sample);
    trace["frames"] = Json::array();
    for (const StackFrame& frame : Frames(view.profile, sample)) {
      Json row;
      row["function"] = frame.info.name.empty() ? frame.info.PrintableName() : frame.info.name;
      row["file"] = TextOrNull(frame.info.file);
      row["line"] = frame.info.line != 0 ? Json(frame.info.line) : Json();
      row["inlined"] = frame.inlined;
      trace["frames"].push_back(std::move(row));
    }
    json["traces"].push_back(std::move(trace));
  }
  return json;
}

std::string TracesCsv(const View& view) {
  std::string csv = CsvRow("value", "labels", "stack");
  for (const pprof::Sample& sample : view.profile.samples) {
    std::string stack;
    const std::vector<StackFrame> frames = Frames(view.profile, sample);
    for (auto frame = frames.rbegin(); frame != frames.rend(); ++frame) {
      stack += (stack.empty() ? "" : ";") + frame->info.PrintableName();
    }
    csv += CsvRow(view.Value(sample), LabelsCell(sample), stack);
  }
  return csv;
}

Json RawJson(const pprof::Profile& profile) {
  Json json;
  json["sample_types"] = Json::array();
  for (const auto& type : profile.sample_types) {
    json["sample_types"].push_back(Json{{"type", type.type}, {"unit", type.unit}});
  }
  json["default_sample_type"] = TextOrNull(profile.default_sample_type);
  json["period_type"] =
      Json{{"type", profile.period_type.type}, {"unit", profile.period_type.unit}};
  json["period"] = profile.period;
  json["start_ns"] = profile.time_ns;
  json["duration_ns"] = profile.duration_ns;
  json["comments"] = profile.comments;
  json["samples"] = Json::array();
  for (const pprof::Sample& sample : profile.samples) {
    Json locations = Json::array();
    for (const uint32_t location : sample.locations) locations.push_back(location + 1);
    json["samples"].push_back(Json{{"values", sample.values},
                                   {"locations", std::move(locations)},
                                   {"labels", LabelsJson(sample)}});
  }
  json["locations"] = Json::array();
  for (const pprof::Location& location : profile.locations) {
    Json lines = Json::array();
    for (const pprof::Line& line : location.lines) {
      const pprof::Function& function = profile.functions[line.function];
      lines.push_back(Json{{"function", function.name},
                           {"system_function", function.system_name},
                           {"file", TextOrNull(function.file)},
                           {"start_line", function.start_line},
                           {"line", line.line}});
    }
    json["locations"].push_back(
        Json{{"mapping", location.mapping >= 0 ? Json(location.mapping + 1) : Json()},
             {"address", fmt::format("{:#x}", location.address)},
             {"lines", std::move(lines)}});
  }
  json["mappings"] = Json::array();
  for (const pprof::Mapping& mapping : profile.mappings) {
    json["mappings"].push_back(Json{{"start", fmt::format("{:#x}", mapping.start)},
                                    {"limit", fmt::format("{:#x}", mapping.limit)},
                                    {"offset", fmt::format("{:#x}", mapping.offset)},
                                    {"file", mapping.file},
                                    {"build_id", TextOrNull(mapping.build_id)}});
  }
  return json;
}

std::string RawCsv(const pprof::Profile& profile) {
  std::string csv;
  for (const auto& type : profile.sample_types) csv += CsvCell(type.type + "/" + type.unit) + ",";
  csv += "locations,labels\n";
  for (const pprof::Sample& sample : profile.samples) {
    for (const int64_t value : sample.values) csv += fmt::format("{},", value);
    std::string ids;
    for (const uint32_t location : sample.locations) {
      ids += fmt::format("{}{}", ids.empty() ? "" : " ", location + 1);
    }
    csv += CsvRow(ids, LabelsCell(sample));
  }
  return csv;
}

}  // namespace hotpath::report
