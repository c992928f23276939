// Finds the functions, their sampled lines and the source text around them.
#include "exporters/report/listing.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "exporters/report/csv.h"
#include "exporters/report/unit.h"

namespace hotpath::report {
namespace {

constexpr int64_t kMargin = 5;          // Lines before the first and after the last sample.
constexpr int64_t kMostLines = 20'000;  // Of one routine: a hostile line number prints no more.
constexpr int64_t kLastLine = int64_t{1} << 40;
constexpr uintmax_t kLargestFile = uintmax_t{64} << 20;

struct ListedLine {
  int64_t number = 0, flat = 0, cum = 0;
  std::string source;
};
struct Routine {
  std::string function, file;  // file is empty where the profile names none.
  int64_t flat = 0, cum = 0;
  std::string error;  // Why there are no lines.
  std::vector<ListedLine> lines;
};

Result<std::vector<std::string>> ReadLines(const std::filesystem::path& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error) return Fail(ErrorCode::kNotFound, "open " + path.string() + ": " + error.message());
  if (size > kLargestFile) {
    return Fail(ErrorCode::kTooLarge, "open " + path.string() + ": larger than 64 MiB");
  }
  std::ifstream file(path);
  if (!file) return FailErrno("open " + path.string());
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (line.ends_with('\r')) line.pop_back();
    lines.push_back(std::move(line));
  }
  return lines;
}

void FillLines(Routine& routine, const std::vector<const Node*>& nodes,
               const SourceReader& sources) {
  int64_t first = 0, last = 0;
  std::map<int64_t, std::pair<int64_t, int64_t>> values;  // Line -> flat, cum.
  for (const Node* node : nodes) {
    const int64_t line = std::clamp<int64_t>(node->info.line, 0, kLastLine);
    const int64_t start = node->info.start_line != 0 && node->info.start_line <= line
                              ? node->info.start_line
                              : line - kMargin;
    first = first == 0 ? start : std::min(first, start);
    last = std::max(last, line + kMargin);
    values[line].first += node->flat;
    values[line].second += node->cum;
  }
  const auto text = sources(routine.file);
  if (!text) {
    routine.error = text.error().message;
    return;
  }
  first = std::max<int64_t>(first, 1);
  last = std::min<int64_t>({last, static_cast<int64_t>(text->size()), first + kMostLines});
  for (int64_t number = first; number <= last; ++number) {
    const auto value = values.find(number);
    routine.lines.push_back({number, value == values.end() ? 0 : value->second.first,
                             value == values.end() ? 0 : value->second.second,
                             (*text)[number - 1]});
  }
}

// By function name, then by file.
Result<std::vector<Routine>> FindRoutines(const View& view, const std::string& symbol,
                                          const SourceReader& sources) {
  const re2::RE2 expression(symbol, re2::RE2::Quiet);
  if (!expression.ok()) {
    return Fail(ErrorCode::kInvalidArgument,
                "'" + symbol + "' is no regular expression: " + expression.error());
  }
  const Graph graph = BuildGraph(view, true);
  std::map<std::string, std::map<std::string, std::vector<const Node*>>> functions;
  for (const Node& node : graph.nodes) {
    if (!re2::RE2::PartialMatch(node.info.name, expression)) continue;
    functions[node.info.name][node.info.file].push_back(&node);
  }
  if (functions.empty()) {
    return Fail(ErrorCode::kNotFound, "no function matches '" + symbol + "'");
  }
  std::vector<Routine> routines;
  for (auto& [function, files] : functions) {
    if (files.size() > 1) files.erase("");  // The others say more.
    for (const auto& [file, nodes] : files) {
      Routine routine{function, file, 0, 0, "", {}};
      for (const Node* node : nodes) {
        routine.flat += node->flat;
        routine.cum += node->cum;
      }
      if (file.empty()) {
        routine.error = "the profile names no source file";
      } else {
        FillLines(routine, nodes, sources);
      }
      routines.push_back(std::move(routine));
    }
  }
  return routines;
}

}  // namespace

SourceReader DiskSources(std::string search_path) {
  return [search_path =
              std::move(search_path)](const std::string& name) -> Result<std::vector<std::string>> {
    std::vector<std::filesystem::path> directories;
    for (size_t at = 0; at < search_path.size();) {
      const size_t end = std::min(search_path.find(':', at), search_path.size());
      if (end > at) directories.emplace_back(search_path.substr(at, end - at));
      at = end + 1;
    }
    const std::filesystem::path path(name);
    std::error_code error;
    if (path.is_absolute() && std::filesystem::is_regular_file(path, error)) return ReadLines(path);
    if (path.is_relative()) directories.emplace_back(".");
    for (const auto& directory : directories) {
      // The whole path below the directory, then ever shorter tails of it.
      std::filesystem::path tail = path.relative_path();
      while (!tail.empty()) {
        if (std::filesystem::is_regular_file(directory / tail, error)) {
          return ReadLines(directory / tail);
        }
        const auto next = std::next(tail.begin());
        std::filesystem::path shorter;
        for (auto part = next; part != tail.end(); ++part) shorter /= *part;
        tail = std::move(shorter);
      }
    }
    return Fail(ErrorCode::kNotFound,
                "no file " + name + " here; --source-path DIR says where the sources are");
  };
}

Result<std::string> ListText(const View& view, const std::string& symbol,
                             const SourceReader& sources) {
  const auto routines = FindRoutines(view, symbol, sources);
  if (!routines) return std::unexpected(routines.error());
  const auto label = [&](int64_t value) { return ScaledLabel(value, view.unit, "minimum"); };
  const auto label_or_dot = [&](int64_t value) {
    return value == 0 ? std::string(".") : label(value);
  };
  std::string text = "Total: " + label(view.total) + "\n";
  for (const Routine& routine : *routines) {
    if (routine.file.empty()) {
      text += "No source information for " + routine.function + "\n";
      continue;
    }
    text +=
        fmt::format("ROUTINE ======================== {} in {}\n", routine.function, routine.file);
    text += fmt::format("{:>10} {:>10} (flat, cum) {} of Total\n", label(routine.flat),
                        label(routine.cum), Percentage(routine.cum, view.total));
    if (!routine.error.empty()) text += " Error: " + routine.error + "\n";
    for (const ListedLine& line : routine.lines) {
      text += fmt::format("{:>10} {:>10} {:>6}:{}\n", label_or_dot(line.flat),
                          label_or_dot(line.cum), line.number, line.source);
    }
  }
  return text;
}

Result<Json> ListJson(const View& view, const std::string& symbol, const SourceReader& sources) {
  const auto routines = FindRoutines(view, symbol, sources);
  if (!routines) return std::unexpected(routines.error());
  Json json = JsonHeader(view);
  json["routines"] = Json::array();
  for (const Routine& routine : *routines) {
    Json lines = Json::array();
    for (const ListedLine& line : routine.lines) {
      lines.push_back(Json{
          {"line", line.number}, {"flat", line.flat}, {"cum", line.cum}, {"source", line.source}});
    }
    json["routines"].push_back(Json{{"function", routine.function},
                                    {"file", TextOrNull(routine.file)},
                                    {"flat", routine.flat},
                                    {"cum", routine.cum},
                                    {"error", TextOrNull(routine.error)},
                                    {"lines", std::move(lines)}});
  }
  return json;
}

Result<std::string> ListCsv(const View& view, const std::string& symbol,
                            const SourceReader& sources) {
  const auto routines = FindRoutines(view, symbol, sources);
  if (!routines) return std::unexpected(routines.error());
  std::string csv = CsvRow("function", "file", "line", "flat", "cum", "source");
  for (const Routine& routine : *routines) {
    for (const ListedLine& line : routine.lines) {
      csv += CsvRow(routine.function, routine.file, line.number, line.flat, line.cum, line.source);
    }
  }
  return csv;
}

}  // namespace hotpath::report
