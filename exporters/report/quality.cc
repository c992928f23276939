// Counts complete stacks and named frames.
#include "exporters/report/quality.h"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>

namespace hotpath::report {
namespace {

// "ring buffer full" of "[lost: ring buffer full]"; nullopt when `name` is no such frame.
std::optional<std::string> SyntheticReason(std::string_view name, std::string_view kind) {
  if (!name.starts_with(kind) || !name.ends_with(']')) return std::nullopt;
  return std::string(name.substr(kind.size(), name.size() - kind.size() - 1));
}

std::optional<int64_t> Number(const std::string& text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// What one location is, decided once.
struct FrameFacts {
  bool named = false;
  std::optional<std::string> truncated, lost;
};

std::vector<FrameFacts> ClassifyFrames(const pprof::Profile& profile) {
  std::vector<FrameFacts> facts;
  for (const pprof::Location& location : profile.locations) {
    FrameFacts frame;
    if (!location.lines.empty()) {
      const std::string& name = profile.functions[location.lines.back().function].name;
      frame.named = !IsUnnamed(name);
      frame.truncated = SyntheticReason(name, "[truncated: ");
      frame.lost = SyntheticReason(name, "[lost: ");
    }
    facts.push_back(std::move(frame));
  }
  return facts;
}

std::vector<ReasonCount> Sorted(const std::map<std::string, int64_t>& counts) {
  std::vector<ReasonCount> sorted;
  for (const auto& [reason, samples] : counts) sorted.push_back({reason, samples});
  std::ranges::stable_sort(sorted, std::greater<>(), &ReasonCount::samples);
  return sorted;
}

std::string LabelText(const pprof::Sample& sample, std::string_view key) {
  for (const pprof::Label& label : sample.labels) {
    if (label.key == key) return label.str;
  }
  return {};
}

// What the profiler wrote about itself. A comment that breaks the form is only a comment.
void ReadComments(const pprof::Profile& profile, Quality& quality,
                  std::map<std::pair<std::string, std::string>, FileQuality>& files) {
  const re2::RE2 file_form(
      "#? ?file=(.*) build_id=(\\S*) table=(\\S*) rows=(\\d+) frames=(\\d+) failed=(\\d+).*");
  const re2::RE2 kernel_form("(?:^|[ #])cpu_seconds_kernel=([0-9.eE+-]+)(?: |$)");
  for (const std::string& comment : profile.comments) {
    std::string file, build_id, table, rows, frames, failed, seconds;
    if (re2::RE2::FullMatch(comment, file_form, &file, &build_id, &table, &rows, &frames,
                            &failed)) {
      FileQuality& row = files[{file, build_id}];
      row.table = table;
      row.rows = Number(rows);
      row.failed = Number(failed);
      row.frames = Number(frames).value_or(row.frames);
    } else if (re2::RE2::PartialMatch(comment, kernel_form, &seconds)) {
      quality.cpu_seconds_kernel = std::strtod(seconds.c_str(), nullptr);
    }
  }
}

std::optional<double> CpuSeconds(const pprof::Profile& profile) {
  for (size_t i = 0; i < profile.sample_types.size(); ++i) {
    if (profile.sample_types[i] != pprof::ValueType{"cpu", "nanoseconds"}) continue;
    double sum = 0;
    for (const pprof::Sample& sample : profile.samples) {
      sum += static_cast<double>(sample.values[i]);
    }
    return sum / 1e9;
  }
  return std::nullopt;
}

double Share(int64_t part, int64_t whole) { return whole == 0 ? 1 : Ratio(part, whole); }

}  // namespace

double Quality::CompleteRatio() const { return Share(complete, samples); }
double Quality::NamedRatio() const { return Share(named, frames); }

bool IsUnnamed(std::string_view frame_name) {
  const size_t plus = frame_name.rfind("+0x");
  if (plus == std::string_view::npos) return frame_name.empty();
  const std::string_view digits = frame_name.substr(plus + 3);
  return !digits.empty() &&
         digits.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

Quality MeasureQuality(const pprof::Profile& profile) {
  Quality quality;
  const std::vector<FrameFacts> facts = ClassifyFrames(profile);
  const auto count_type = CountTypeIndex(profile);
  std::map<std::string, int64_t> truncated, lost;
  std::map<std::string, ExeQuality> exes;
  std::map<std::pair<std::string, std::string>, FileQuality> files;
  for (const pprof::Sample& sample : profile.samples) {
    // A bound keeps sums of foreign values from overflowing.
    const int64_t count =
        std::clamp<int64_t>(count_type ? sample.values[*count_type] : 1, 0, int64_t{1} << 32);
    std::string reason = LabelText(sample, "stack");
    ExeQuality row;
    bool is_lost = false;
    for (const uint32_t index : sample.locations) {
      const FrameFacts& frame = facts[index];
      if (frame.lost) {
        lost[*frame.lost] += count;
        is_lost = true;
      } else if (frame.truncated) {
        if (reason.empty()) reason = *frame.truncated;
      } else {
        row.frames += count;
        if (frame.named) row.named += count;
        if (const int32_t number = profile.locations[index].mapping; number >= 0) {
          const pprof::Mapping& mapping = profile.mappings[number];
          files[{Basename(mapping.file), mapping.build_id}].frames += count;
        }
      }
    }
    if (is_lost) continue;
    if (!reason.empty()) truncated[reason] += count;
    row.samples = count;
    row.complete = reason.empty() ? count : 0;
    ExeQuality& exe = exes[LabelText(sample, "exe")];
    exe.samples += row.samples;
    exe.complete += row.complete;
    exe.frames += row.frames;
    exe.named += row.named;
  }
  for (auto& [name, exe] : exes) {
    exe.exe = name;
    quality.samples += exe.samples;
    quality.complete += exe.complete;
    quality.frames += exe.frames;
    quality.named += exe.named;
    quality.by_exe.push_back(exe);
  }
  ReadComments(profile, quality, files);
  for (auto& [key, file] : files) {
    file.file = key.first;
    file.build_id = key.second;
    quality.by_file.push_back(std::move(file));
  }
  std::ranges::stable_sort(quality.by_exe, std::greater<>(), &ExeQuality::samples);
  std::ranges::stable_sort(quality.by_file, std::greater<>(), &FileQuality::frames);
  quality.truncated = Sorted(truncated);
  quality.lost = Sorted(lost);
  quality.cpu_seconds_profile = CpuSeconds(profile);
  return quality;
}

}  // namespace hotpath::report
