// A profile's quality as text, JSON and CSV.
#include <fmt/format.h>

#include "exporters/report/csv.h"
#include "exporters/report/quality.h"

namespace hotpath::report {
namespace {

constexpr size_t kMostFiles = 30;  // Of the text; JSON and CSV hold them all.

std::string Percent(double ratio) { return fmt::format("{:.2f}%", ratio * 100); }

double ExeComplete(const ExeQuality& exe) {
  return exe.samples == 0 ? 1 : Ratio(exe.complete, exe.samples);
}
double ExeNamed(const ExeQuality& exe) {
  return exe.frames == 0 ? 1 : Ratio(exe.named, exe.frames);
}

Json NumberOrNull(const std::optional<int64_t>& number) { return number ? Json(*number) : Json(); }
Json NumberOrNull(const std::optional<double>& number) { return number ? Json(*number) : Json(); }

std::string CellOf(const std::optional<int64_t>& number) {
  return number ? fmt::format("{}", *number) : "";
}

Json ReasonsJson(const std::vector<ReasonCount>& reasons) {
  Json json = Json::array();
  for (const ReasonCount& reason : reasons) {
    json.push_back(Json{{"reason", reason.reason}, {"samples", reason.samples}});
  }
  return json;
}

}  // namespace

std::string QualityText(const Quality& quality) {
  std::string text = fmt::format("{:>10} samples\n", quality.samples);
  text += fmt::format("{:>10} complete: {} of the stacks reach their thread's first frame\n",
                      quality.complete, Percent(quality.CompleteRatio()));
  text += fmt::format("{:>10} frames\n", quality.frames);
  text += fmt::format("{:>10} named: {} of the frames have a function's name\n", quality.named,
                      Percent(quality.NamedRatio()));
  if (quality.cpu_seconds_profile) {
    text += fmt::format("{:>10.3f} CPU seconds in the profile", *quality.cpu_seconds_profile);
    if (quality.cpu_seconds_kernel) {
      text += fmt::format("; the kernel counted {:.3f}", *quality.cpu_seconds_kernel);
      if (*quality.cpu_seconds_kernel > 0) {
        text += fmt::format(" ({:+.2f}%)",
                            (*quality.cpu_seconds_profile / *quality.cpu_seconds_kernel - 1) * 100);
      }
    }
    text += "\n";
  }
  for (const auto& [word, reasons] :
       {std::pair{"truncated", &quality.truncated}, std::pair{"lost", &quality.lost}}) {
    for (const ReasonCount& reason : *reasons) {
      text += fmt::format("{:>10} {}: {}\n", reason.samples, word, reason.reason);
    }
  }
  text += fmt::format("\n{:>10} {:>9} {:>9}  {}\n", "samples", "complete", "named", "program");
  for (const ExeQuality& exe : quality.by_exe) {
    text += fmt::format("{:>10} {:>9} {:>9}  {}\n", exe.samples, Percent(ExeComplete(exe)),
                        Percent(ExeNamed(exe)), exe.exe.empty() ? "(no program)" : exe.exe);
  }
  text +=
      fmt::format("\n{:>10} {:>9} {:>9}  {:<13} {}\n", "frames", "failed", "rows", "table", "file");
  const auto dash = [](const std::string& cell) { return cell.empty() ? std::string("-") : cell; };
  for (size_t i = 0; i < quality.by_file.size() && i < kMostFiles; ++i) {
    const FileQuality& file = quality.by_file[i];
    text += fmt::format("{:>10} {:>9} {:>9}  {:<13} {}\n", file.frames, dash(CellOf(file.failed)),
                        dash(CellOf(file.rows)), dash(file.table), dash(file.file));
  }
  if (quality.by_file.size() > kMostFiles) {
    text += fmt::format("{:>10} more files: --format json shows them\n",
                        quality.by_file.size() - kMostFiles);
  }
  return text;
}

Json QualityJson(const Quality& quality) {
  Json json;
  json["samples"] = quality.samples;
  json["complete"] = quality.complete;
  json["complete_ratio"] = quality.CompleteRatio();
  json["frames"] = quality.frames;
  json["named_frames"] = quality.named;
  json["named_ratio"] = quality.NamedRatio();
  json["cpu_seconds_profile"] = NumberOrNull(quality.cpu_seconds_profile);
  json["cpu_seconds_kernel"] = NumberOrNull(quality.cpu_seconds_kernel);
  json["truncated"] = ReasonsJson(quality.truncated);
  json["lost"] = ReasonsJson(quality.lost);
  json["by_exe"] = Json::array();
  for (const ExeQuality& exe : quality.by_exe) {
    json["by_exe"].push_back(Json{{"exe", TextOrNull(exe.exe)},
                                  {"samples", exe.samples},
                                  {"complete_ratio", ExeComplete(exe)},
                                  {"named_ratio", ExeNamed(exe)}});
  }
  json["by_file"] = Json::array();
  for (const FileQuality& file : quality.by_file) {
    json["by_file"].push_back(Json{{"file", TextOrNull(file.file)},
                                   {"build_id", TextOrNull(file.build_id)},
                                   {"frames", file.frames},
                                   {"failed", NumberOrNull(file.failed)},
                                   {"rows", NumberOrNull(file.rows)},
                                   {"table", TextOrNull(file.table)}});
  }
  return json;
}

std::string QualityCsv(const Quality& quality) {
  std::string csv = CsvRow("scope", "name", "build_id", "samples", "complete_ratio", "frames",
                           "named_ratio", "failed");
  csv += CsvRow("total", "", "", quality.samples, quality.CompleteRatio(), quality.frames,
                quality.NamedRatio(), "");
  for (const ExeQuality& exe : quality.by_exe) {
    csv += CsvRow("exe", exe.exe, "", exe.samples, ExeComplete(exe), exe.frames, ExeNamed(exe), "");
  }
  for (const FileQuality& file : quality.by_file) {
    csv += CsvRow("file", file.file, file.build_id, "", "", file.frames, "", CellOf(file.failed));
  }
  return csv;
}

}  // namespace hotpath::report
