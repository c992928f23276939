// Comma-separated rows by RFC 4180, with "\n" line ends.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace hotpath::report {

// Quoted when it holds a comma, a quote or a line end.
inline std::string CsvCell(std::string_view text) {
  if (text.find_first_of(",\"\n\r") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + "\"";
}
inline std::string CsvCell(const std::string& text) { return CsvCell(std::string_view(text)); }
inline std::string CsvCell(const char* text) { return CsvCell(std::string_view(text)); }
template <typename Number>
std::string CsvCell(Number number) {
  return fmt::format("{}", number);
}

// One line of a table.
template <typename... Cells>
std::string CsvRow(const Cells&... cells) {
  std::string row;
  ((row += CsvCell(cells) + ","), ...);
  row.back() = '\n';
  return row;
}

}  // namespace hotpath::report
