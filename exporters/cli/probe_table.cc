// Tables of probes as text, JSON and CSV.
#include "exporters/cli/probe_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "exporters/report/csv.h"
#include "exporters/report/header.h"

namespace hotpath::cli {
namespace {

std::string Hex(const std::optional<uint64_t>& offset) {
  return offset ? fmt::format("{:#x}", *offset) : "-";
}

report::Json NumberOrNull(const std::optional<uint64_t>& number) {
  return number ? report::Json(*number) : report::Json(nullptr);
}

report::Json RowJson(const ProbeRow& row) {
  return {{"function", row.function},
          {"offset", NumberOrNull(row.offset)},
          {"instruction", report::TextOrNull(row.instruction)},
          {"class", row.probe_class},
          {"why", report::TextOrNull(row.why)},
          {"pair_offset", NumberOrNull(row.pair_offset)},
          {"pair_instruction", report::TextOrNull(row.pair_instruction)},
          {"arguments", row.arguments},
          {"aliases", row.aliases},
          {"enters", row.enters}};
}

report::Json TableJson(const ProbeTable& table) {
  report::Json json;
  json["file"] = table.file;
  json["build_id"] = report::TextOrNull(table.build_id);
  json["allocator"] = report::TextOrNull(table.allocator);
  json["live"] = table.live ? report::Json(*table.live) : report::Json(nullptr);
  json["why"] = report::TextOrNull(table.why);
  json["probes"] = report::Json::array();
  for (const ProbeRow& row : table.rows) json["probes"].push_back(RowJson(row));
  return json;
}

// What is worth a remark behind a row.
std::string Remark(const ProbeRow& row) {
  std::string remark = row.why;
  const auto add = [&remark](const std::string& text) {
    remark += (remark.empty() ? "" : "; ") + text;
  };
  if (row.pair_offset) add(fmt::format("pair {} {}", Hex(row.pair_offset), row.pair_instruction));
  if (!row.enters.empty()) add(fmt::format("enters {}", fmt::join(row.enters, ", ")));
  if (!row.aliases.empty()) add(fmt::format("also {}", fmt::join(row.aliases, ", ")));
  return remark;
}

}  // namespace

std::string ProbesText(const std::vector<ProbeTable>& tables) {
  std::string text;
  for (const ProbeTable& table : tables) {
    if (!text.empty()) text += "\n";
    text += fmt::format("File: {}\nAllocator: {}\nBuild ID: {}\n", table.file,
                        table.allocator.empty() ? "none of its own" : table.allocator,
                        table.build_id.empty() ? "none" : table.build_id);
    if (table.live) text += fmt::format("Used: {}\n", *table.live ? "yes" : "no, " + table.why);
    if (table.rows.empty()) {
      text += "No allocator's function has a symbol here.\n";
      continue;
    }
    text += fmt::format("{:<10} {:>10}  {:<20} {:<24} {}\n", "class", "offset", "instruction",
                        "function", "remarks");
    for (const ProbeRow& row : table.rows) {
      std::string line = fmt::format("{:<10} {:>10}  {:<20} {:<24} {}", row.probe_class,
                                     Hex(row.offset), row.instruction, row.function, Remark(row));
      line.erase(line.find_last_not_of(' ') + 1);
      text += line + "\n";
    }
  }
  return text;
}

std::string ProbesJson(const std::vector<ProbeTable>& tables) {
  report::Json json = TableJson(tables.front());
  json["others"] = report::Json::array();
  for (size_t i = 1; i < tables.size(); ++i) json["others"].push_back(TableJson(tables[i]));
  return report::Dump(json);
}

std::string ProbesCsv(const std::vector<ProbeTable>& tables) {
  std::string csv = report::CsvRow("file", "build_id", "allocator", "live", "function", "offset",
                                   "instruction", "class", "why", "pair_offset", "enters");
  const auto number = [](const std::optional<uint64_t>& offset) {
    return offset ? fmt::format("{}", *offset) : std::string();
  };
  for (const ProbeTable& table : tables) {
    const std::string live = table.live ? fmt::format("{}", *table.live) : std::string();
    for (const ProbeRow& row : table.rows) {
      csv += report::CsvRow(table.file, table.build_id, table.allocator, live, row.function,
                            number(row.offset), row.instruction, row.probe_class, row.why,
                            number(row.pair_offset), fmt::format("{}", fmt::join(row.enters, " ")));
    }
  }
  return csv;
}

}  // namespace hotpath::cli
