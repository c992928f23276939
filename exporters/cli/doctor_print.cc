// Doctor's findings as text, JSON and CSV.
#include <fmt/format.h>

#include "exporters/cli/doctor.h"
#include "exporters/report/csv.h"
#include "exporters/report/header.h"

namespace hotpath::cli {

std::string DoctorText(const std::vector<DoctorCheck>& checks, bool colour) {
  std::string text;
  const auto mark = [colour](const char* word, int code) {
    return colour ? fmt::format("\x1b[{}m{:<4}\x1b[0m", code, word) : fmt::format("{:<4}", word);
  };
  for (const DoctorCheck& check : checks) {
    const std::string verdict = check.ok         ? mark("ok", 32)
                                : check.required ? mark("FAIL", 31)
                                                 : mark("warn", 33);
    text += fmt::format("{}  {:<26}  {}\n", verdict, check.name, check.found);
    if (!check.ok) text += fmt::format("      {:<26}  -> {}\n", "", check.remedy);
  }
  text += HostIsFit(checks) ? "This host can be profiled.\n"
                            : "This host cannot be profiled until every FAIL is mended.\n";
  return text;
}

std::string DoctorJson(const std::vector<DoctorCheck>& checks) {
  report::Json json;
  json["ok"] = HostIsFit(checks);
  json["checks"] = report::Json::array();
  for (const DoctorCheck& check : checks) {
    json["checks"].push_back(report::Json{{"name", check.name},
                                          {"ok", check.ok},
                                          {"required", check.required},
                                          {"found", check.found},
                                          {"remedy", report::TextOrNull(check.remedy)}});
  }
  return report::Dump(json);
}

std::string DoctorCsv(const std::vector<DoctorCheck>& checks) {
  std::string csv = report::CsvRow("name", "ok", "required", "found", "remedy");
  for (const DoctorCheck& check : checks) {
    csv += report::CsvRow(check.name, check.ok, check.required, check.found, check.remedy);
  }
  return csv;
}

}  // namespace hotpath::cli
