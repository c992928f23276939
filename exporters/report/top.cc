// Prints the nodes of a trimmed graph, one a line.
#include "exporters/report/top.h"

#include <fmt/format.h>

#include "exporters/report/csv.h"
#include "exporters/report/unit.h"

namespace hotpath::report {
namespace {

// " (inline)" when every call to the node was inlined, " (partial-inline)" when some were.
std::string_view InlineRemark(const Graph& graph, const Node& node) {
  bool inlined = false, called = false;
  for (const uint32_t edge : node.in) (graph.edges[edge].inlined ? inlined : called) = true;
  if (!inlined) return "";
  return called ? " (partial-inline)" : " (inline)";
}

}  // namespace

Json NodeJson(const View& view, const Node& node) {
  const pprof::Profile& profile = view.profile;
  const pprof::Function* function =
      node.function == Node::kNone ? nullptr : &profile.functions[node.function];
  const pprof::Mapping* mapping = node.mapping < 0 ? nullptr : &profile.mappings[node.mapping];
  Json row;
  const std::string& name = node.info.name;
  row["function"] =
      name.empty() && node.info.file.empty() ? Json(node.printable) : TextOrNull(name);
  row["system_function"] = function ? TextOrNull(function->system_name) : Json();
  row["file"] = function ? TextOrNull(function->file) : Json();
  const int64_t line = node.info.line != 0 ? node.info.line : function ? function->start_line : 0;
  row["line"] = line != 0 ? Json(line) : Json();
  if (node.info.address != 0) row["address"] = fmt::format("{:#x}", node.info.address);
  row["mapping"] = mapping ? TextOrNull(mapping->file) : Json();
  row["build_id"] = mapping ? TextOrNull(mapping->build_id) : Json();
  row["flat"] = node.flat;
  row["flat_ratio"] = Ratio(node.flat, view.total);
  row["cum"] = node.cum;
  row["cum_ratio"] = Ratio(node.cum, view.total);
  row["interval95"] = Json();
  return row;
}

std::string TopText(const View& view, const TrimOptions& trim) {
  const Graph graph = BuildTrimmedGraph(view, trim);
  const std::string unit = OutputUnit(view, graph);
  std::string text = Lines(GraphLabels(view, graph, trim, unit));
  text += fmt::format("{:>10} {:>5}% {:>5}% {:>10} {:>5}%\n", "flat", "flat", "sum", "cum", "cum");
  int64_t sum = 0;
  for (const Node& node : graph.nodes) {
    sum += node.flat;
    text += fmt::format("{:>10} {} {} {:>10} {}  {}{}\n", ScaledLabel(node.flat, view.unit, unit),
                        Percentage(node.flat, view.total), Percentage(sum, view.total),
                        ScaledLabel(node.cum, view.unit, unit), Percentage(node.cum, view.total),
                        node.printable, InlineRemark(graph, node));
  }
  return text;
}

Json TopJson(const View& view, const TrimOptions& trim) {
  Json json = JsonHeader(view);
  json["rows"] = Json::array();
  for (const Node& node : BuildTrimmedGraph(view, trim).nodes) {
    json["rows"].push_back(NodeJson(view, node));
  }
  return json;
}

std::string TopCsv(const View& view, const TrimOptions& trim) {
  std::string csv = CsvRow("function", "system_function", "file", "line", "mapping", "build_id",
                           "flat", "flat_ratio", "cum", "cum_ratio");
  const auto cell = [](const Json& value) {
    if (value.is_null()) return std::string();
    return value.is_string() ? value.get<std::string>() : value.dump();
  };
  for (const Node& node : BuildTrimmedGraph(view, trim).nodes) {
    const Json row = NodeJson(view, node);
    csv += CsvRow(cell(row["function"]), cell(row["system_function"]), cell(row["file"]),
                  cell(row["line"]), cell(row["mapping"]), cell(row["build_id"]), node.flat,
                  Ratio(node.flat, view.total), node.cum, Ratio(node.cum, view.total));
  }
  return csv;
}

}  // namespace hotpath::report
