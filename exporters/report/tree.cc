// Prints each node between its callers and its callees.
#include "exporters/report/tree.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include "exporters/report/csv.h"
#include "exporters/report/top.h"
#include "exporters/report/unit.h"

namespace hotpath::report {
namespace {

constexpr std::string_view kSeparator =
    "----------------------------------------------------------+-------------\n";
constexpr std::string_view kLegend =
    "      flat  flat%   sum%        cum   cum%   calls calls% + context\n";

Result<std::vector<const Node*>> Select(const Graph& graph, const std::string& symbol) {
  const re2::RE2 expression(symbol, re2::RE2::Quiet);
  if (!expression.ok()) {
    return Fail(ErrorCode::kInvalidArgument,
                "'" + symbol + "' is no regular expression: " + expression.error());
  }
  std::vector<const Node*> nodes;
  for (const Node& node : graph.nodes) {
    if (re2::RE2::PartialMatch(node.printable, expression)) nodes.push_back(&node);
  }
  if (nodes.empty() && !symbol.empty()) {
    return Fail(ErrorCode::kNotFound, "no function matches '" + symbol + "'");
  }
  return nodes;
}

Json NeighbourJson(const Node& neighbour, const Edge& edge, const Node& node) {
  Json json;
  json["function"] = neighbour.printable;
  json["value"] = edge.weight;
  json["ratio"] = Ratio(edge.weight, node.cum);
  json["inlined"] = edge.inlined;
  return json;
}

}  // namespace

Result<std::string> TreeText(const View& view, const TrimOptions& trim, const std::string& symbol) {
  const Graph graph = BuildTrimmedGraph(view, trim);
  const auto nodes = Select(graph, symbol);
  if (!nodes) return std::unexpected(nodes.error());
  const std::string unit = OutputUnit(view, graph);
  const auto label = [&](int64_t value) { return ScaledLabel(value, view.unit, unit); };
  const auto neighbour = [&](const Edge& edge, const Node& other, const Node& node) {
    return fmt::format("{:>50} {} |   {}{}\n", label(edge.weight),
                       Percentage(edge.weight, node.cum), other.printable,
                       edge.inlined ? " (inline)" : "");
  };
  std::string text = Lines(GraphLabels(view, graph, trim, unit));
  text += kSeparator;
  text += kLegend;
  int64_t sum = 0;
  for (const Node* node : *nodes) {
    text += kSeparator;
    for (const uint32_t index : node->in) {
      const Edge& edge = graph.edges[index];
      text += neighbour(edge, graph.nodes[edge.caller], *node);
    }
    sum += node->flat;
    text += fmt::format("{:>10} {} {} {:>10} {}                | {}\n", label(node->flat),
                        Percentage(node->flat, view.total), Percentage(sum, view.total),
                        label(node->cum), Percentage(node->cum, view.total), node->printable);
    for (const uint32_t index : node->out) {
      const Edge& edge = graph.edges[index];
      text += neighbour(edge, graph.nodes[edge.callee], *node);
    }
  }
  if (!graph.nodes.empty()) text += kSeparator;
  return text;
}

Result<Json> TreeJson(const View& view, const TrimOptions& trim, const std::string& symbol) {
  const Graph graph = BuildTrimmedGraph(view, trim);
  const auto nodes = Select(graph, symbol);
  if (!nodes) return std::unexpected(nodes.error());
  Json json = JsonHeader(view);
  json["rows"] = Json::array();
  for (const Node* node : *nodes) {
    Json row = NodeJson(view, *node);
    row["callers"] = row["callees"] = Json::array();
    for (const uint32_t index : node->in) {
      const Edge& edge = graph.edges[index];
      row["callers"].push_back(NeighbourJson(graph.nodes[edge.caller], edge, *node));
    }
    for (const uint32_t index : node->out) {
      const Edge& edge = graph.edges[index];
      row["callees"].push_back(NeighbourJson(graph.nodes[edge.callee], edge, *node));
    }
    json["rows"].push_back(std::move(row));
  }
  return json;
}

Result<std::string> TreeCsv(const View& view, const TrimOptions& trim, const std::string& symbol) {
  const Graph graph = BuildTrimmedGraph(view, trim);
  const auto nodes = Select(graph, symbol);
  if (!nodes) return std::unexpected(nodes.error());
  std::string csv = CsvRow("caller", "callee", "value", "inlined");
  std::set<uint32_t> shown;
  for (const Node* node : *nodes) {
    for (const auto* edges : {&node->in, &node->out}) {
      for (const uint32_t index : *edges) {
        if (!shown.insert(index).second) continue;
        const Edge& edge = graph.edges[index];
        csv += CsvRow(graph.nodes[edge.caller].printable, graph.nodes[edge.callee].printable,
                      edge.weight, edge.inlined);
      }
    }
  }
  return csv;
}

}  // namespace hotpath::report
