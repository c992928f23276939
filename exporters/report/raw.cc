// A profile's fields in pprof's -raw layout.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <map>

#include "exporters/report/traces.h"

namespace hotpath::report {
namespace {

std::string UtcTime(int64_t unix_ns) {
  const auto seconds = static_cast<time_t>(unix_ns / 1'000'000'000);
  tm broken{};
  gmtime_r(&seconds, &broken);
  char text[64];
  std::string time(text, strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &broken));
  const int64_t fraction = unix_ns % 1'000'000'000;
  if (fraction != 0) {
    std::string digits = fmt::format("{:09}", fraction);
    digits.erase(digits.find_last_not_of('0') + 1);
    time += "." + digits;
  }
  return time + " +0000 UTC";
}

// "key:[a b]" for every key, sorted: texts on one line, numbers with their units on the next.
std::string LabelLines(const pprof::Sample& sample) {
  constexpr std::string_view kIndent = "                ";
  std::map<std::string, std::string> texts, numbers;
  for (const pprof::Label& label : sample.labels) {
    std::string& values = (label.str.empty() ? numbers : texts)[label.key];
    if (!values.empty()) values += ' ';
    values += label.str.empty() ? fmt::format("{}", label.num) : label.str;
    if (label.str.empty() && !label.num_unit.empty()) values += " " + label.num_unit;
  }
  std::string lines;
  for (const auto* group : {&texts, &numbers}) {
    if (group->empty()) continue;
    lines += kIndent;
    bool first = true;
    for (const auto& [key, values] : *group) {
      lines += fmt::format("{}{}:[{}]", first ? "" : " ", key, values);
      first = false;
    }
    lines += "\n";
  }
  return lines;
}

std::string LocationLines(const pprof::Profile& profile, size_t index) {
  const pprof::Location& location = profile.locations[index];
  std::string prefix = fmt::format("{:>6}: {:#x} ", index + 1, location.address);
  if (location.mapping >= 0) prefix += fmt::format("M={} ", location.mapping + 1);
  if (location.lines.empty()) return prefix + "\n";
  std::string text;
  for (const pprof::Line& line : location.lines) {
    const pprof::Function& function = profile.functions[line.function];
    text += fmt::format("{}{} {}:{} s={}", prefix, function.name, function.file, line.line,
                        function.start_line);
    if (function.name != function.system_name) text += "(" + function.system_name + ")";
    text += "\n";
    prefix = "             ";
  }
  return text;
}

}  // namespace

std::string RawText(const pprof::Profile& profile) {
  std::string text;
  for (const std::string& comment : profile.comments) text += "Comment: " + comment + "\n";
  if (!profile.period_type.type.empty() || !profile.period_type.unit.empty()) {
    text += fmt::format("PeriodType: {} {}\n", profile.period_type.type, profile.period_type.unit);
  }
  text += fmt::format("Period: {}\n", profile.period);
  if (profile.time_ns != 0) text += "Time: " + UtcTime(profile.time_ns) + "\n";
  if (profile.duration_ns != 0) {
    text += fmt::format("Duration: {:.4g}s\n", static_cast<double>(profile.duration_ns) / 1e9);
  }
  text += "Samples:\n";
  std::string types;
  for (const auto& type : profile.sample_types) {
    types += fmt::format("{}{}/{}{}", types.empty() ? "" : " ", type.type, type.unit,
                         type.type == profile.default_sample_type ? "[dflt]" : "");
  }
  text += types + "\n";
  for (const pprof::Sample& sample : profile.samples) {
    for (const int64_t value : sample.values) text += fmt::format(" {:>10}", value);
    text += ": ";
    for (const uint32_t location : sample.locations) text += fmt::format("{} ", location + 1);
    text += "\n" + LabelLines(sample);
  }
  text += "Locations\n";
  for (size_t i = 0; i < profile.locations.size(); ++i) text += LocationLines(profile, i);
  text += "Mappings\n";
  for (size_t i = 0; i < profile.mappings.size(); ++i) {
    const pprof::Mapping& mapping = profile.mappings[i];
    text += fmt::format("{}: {:#x}/{:#x}/{:#x} {} {} {}{}{}{}\n", i + 1, mapping.start,
                        mapping.limit, mapping.offset, mapping.file, mapping.build_id,
                        mapping.has_functions ? "[FN]" : "", mapping.has_filenames ? "[FL]" : "",
                        mapping.has_line_numbers ? "[LN]" : "",
                        mapping.has_inline_frames ? "[IN]" : "");
  }
  return text;
}

}  // namespace hotpath::report
