// Adds samples up into nodes and edges.
#include "exporters/report/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <unordered_map>

#include "exporters/report/header.h"
#include "exporters/report/unit.h"

namespace hotpath::report {
namespace {

NodeInfo InfoOf(const pprof::Profile& profile, const pprof::Location& location,
                const pprof::Line* line, bool keep_objects) {
  NodeInfo info;
  info.address = location.address;
  const std::string object =
      location.mapping >= 0 ? profile.mappings[location.mapping].file : std::string();
  if (!line) {
    info.object = object;
    return info;
  }
  const pprof::Function& function = profile.functions[line->function];
  info.name = function.name;
  info.line = line->line;
  if (!function.file.empty()) {
    info.file = std::filesystem::path(function.file).lexically_normal().string();
  }
  if (keep_objects || info.name.empty()) {
    info.object = object;
    info.start_line = function.start_line;
  }
  return info;
}

constexpr uint32_t kCut = Node::kNone;  // A frame whose node is not kept.

// The nodes of each location, innermost first; kCut where `kept` leaves the node out.
class NodeTable {
 public:
  NodeTable(const pprof::Profile& profile, bool keep_objects, const std::set<NodeInfo>* kept) {
    of_location_.resize(profile.locations.size());
    std::map<NodeInfo, uint32_t> index;
    for (size_t i = 0; i < profile.locations.size(); ++i) {
      const pprof::Location& location = profile.locations[i];
      const size_t lines = std::max<size_t>(location.lines.size(), 1);
      for (size_t l = 0; l < lines; ++l) {
        const pprof::Line* line = location.lines.empty() ? nullptr : &location.lines[l];
        NodeInfo info = InfoOf(profile, location, line, keep_objects);
        if (kept && !kept->contains(info)) {
          of_location_[i].push_back(kCut);
          continue;
        }
        const auto [entry, added] = index.try_emplace(std::move(info), nodes_.size());
        if (added) {
          nodes_.emplace_back();
          nodes_.back().info = entry->first;
        }
        of_location_[i].push_back(entry->second);
      }
    }
  }
  std::vector<Node>& nodes() { return nodes_; }
  const std::vector<uint32_t>& Of(uint32_t location) const { return of_location_[location]; }

 private:
  std::vector<Node> nodes_;
  std::vector<std::vector<uint32_t>> of_location_;
};

// Remembers which function and mapping bring a node most of its weight.
class Origins {
 public:
  void Add(uint32_t node, uint32_t function, int32_t mapping, int64_t weight) {
    weights_[{node, function, mapping}] += std::abs(weight);
  }
  void Store(std::vector<Node>& nodes) const {
    std::vector<int64_t> best(nodes.size(), -1);
    for (const auto& [key, weight] : weights_) {
      const auto& [node, function, mapping] = key;
      if (weight <= best[node]) continue;
      best[node] = weight;
      nodes[node].function = function;
      nodes[node].mapping = mapping;
    }
  }

 private:
  std::map<std::tuple<uint32_t, uint32_t, int32_t>, int64_t> weights_;
};

// Drops nodes that no sample reached, and points the edges at the nodes' new places.
void Compact(Graph& graph, const std::vector<uint32_t>& order) {
  std::vector<uint32_t> place(graph.nodes.size(), kCut);
  std::vector<Node> nodes;
  for (const uint32_t old : order) {
    place[old] = static_cast<uint32_t>(nodes.size());
    nodes.push_back(std::move(graph.nodes[old]));
  }
  graph.nodes = std::move(nodes);
  std::vector<Edge> edges;
  for (Edge edge : graph.edges) {
    edge.caller = place[edge.caller];
    edge.callee = place[edge.callee];
    if (edge.caller != kCut && edge.callee != kCut) edges.push_back(edge);
  }
  graph.edges = std::move(edges);
}

void LinkEdges(Graph& graph) {
  for (Node& node : graph.nodes) {
    node.in.clear();
    node.out.clear();
  }
  for (uint32_t i = 0; i < graph.edges.size(); ++i) {
    graph.nodes[graph.edges[i].caller].out.push_back(i);
    graph.nodes[graph.edges[i].callee].in.push_back(i);
  }
  const auto heavier = [&](uint32_t left, uint32_t right) {
    const Edge &a = graph.edges[left], &b = graph.edges[right];
    if (std::abs(a.weight) != std::abs(b.weight)) return std::abs(a.weight) > std::abs(b.weight);
    const std::string &a_from = graph.nodes[a.caller].printable,
                      &b_from = graph.nodes[b.caller].printable;
    if (a_from != b_from) return a_from < b_from;
    return graph.nodes[a.callee].printable < graph.nodes[b.callee].printable;
  };
  for (Node& node : graph.nodes) {
    std::ranges::sort(node.in, heavier);
    std::ranges::sort(node.out, heavier);
  }
}

void Sort(Graph& graph, bool by_cum) {
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < graph.nodes.size(); ++i) order.push_back(i);
  std::ranges::sort(order, [&](uint32_t left, uint32_t right) {
    const Node &a = graph.nodes[left], &b = graph.nodes[right];
    const int64_t a_first = std::abs(by_cum ? a.cum : a.flat),
                  b_first = std::abs(by_cum ? b.cum : b.flat);
    if (a_first != b_first) return a_first > b_first;
    if (a.printable != b.printable) return a.printable < b.printable;
    const int64_t a_second = std::abs(by_cum ? a.flat : a.cum),
                  b_second = std::abs(by_cum ? b.flat : b.cum);
    if (a_second != b_second) return a_second > b_second;
    return a.info < b.info;
  });
  Compact(graph, order);
  LinkEdges(graph);
}

}  // namespace

std::string NodeInfo::PrintableName() const {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : " ") + part; };
  if (address != 0) add(fmt::format("{:016x}", address));
  if (!name.empty()) add(name);
  if (line != 0) {
    add(fmt::format("{}:{}", file, line));
  } else if (!file.empty()) {
    add(file);
  } else if (name.empty()) {
    add(object.empty() ? "<unknown>" : "[" + Basename(object) + "]");
  }
  return text;
}

int64_t Graph::FlatSum() const {
  int64_t sum = 0;
  for (const Node& node : nodes) sum += node.flat;
  return sum;
}

Graph BuildGraph(const View& view, bool keep_objects, const std::set<NodeInfo>* kept) {
  const pprof::Profile& profile = view.profile;
  NodeTable table(profile, keep_objects, kept);
  Graph graph;
  graph.nodes = std::move(table.nodes());
  std::unordered_map<uint64_t, uint32_t> edge_index;             // (caller, callee) -> edge.
  std::vector<size_t> node_seen(graph.nodes.size()), edge_seen;  // Number of the last sample.
  Origins origins;
  size_t number = 0;
  for (const pprof::Sample& sample : profile.samples) {
    const int64_t weight = view.Value(sample);
    ++number;
    if (weight == 0) continue;
    uint32_t parent = kCut;
    bool residual = false;  // A frame between `parent` and here was not kept.
    for (auto it = sample.locations.rbegin(); it != sample.locations.rend(); ++it) {
      const std::vector<uint32_t>& nodes = table.Of(*it);
      const pprof::Location& location = profile.locations[*it];
      for (size_t l = nodes.size(); l-- > 0;) {
        const uint32_t node = nodes[l];
        if (node == kCut) {
          residual = true;
          continue;
        }
        if (node_seen[node] != number) {
          node_seen[node] = number;
          graph.nodes[node].cum += weight;
          origins.Add(node, location.lines.empty() ? Node::kNone : location.lines[l].function,
                      location.mapping, weight);
        }
        if (parent != kCut && parent != node) {
          const auto [entry, added] =
              edge_index.try_emplace(uint64_t{parent} << 32 | node, graph.edges.size());
          if (added) {
            graph.edges.push_back({parent, node, 0, true});
            edge_seen.push_back(0);
          }
          // A recursive stack crosses an edge many times and counts once.
          if (edge_seen[entry->second] != number) {
            edge_seen[entry->second] = number;
            Edge& edge = graph.edges[entry->second];
            edge.weight += weight;
            edge.inlined = edge.inlined && l + 1 != nodes.size();
          }
        }
        parent = node;
        residual = false;
      }
    }
    if (parent != kCut && !residual) graph.nodes[parent].flat += weight;
  }
  origins.Store(graph.nodes);
  std::vector<uint32_t> reached;
  for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.nodes[i].cum != 0 || graph.nodes[i].flat != 0) reached.push_back(i);
  }
  Compact(graph, reached);
  for (Node& node : graph.nodes) node.printable = node.info.PrintableName();
  LinkEdges(graph);
  graph.original_count = graph.nodes.size();
  return graph;
}

Graph BuildTrimmedGraph(const View& view, const TrimOptions& options) {
  Graph graph = BuildGraph(view, false);
  const auto total = static_cast<double>(graph.FlatSum());
  const auto cutoff = std::abs(static_cast<int64_t>(total * options.node_fraction));
  size_t dropped = 0;
  const auto rebuild = [&](auto keep) {
    std::set<NodeInfo> kept;
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      if (keep(i)) kept.insert(graph.nodes[i].info);
    }
    const size_t lost = graph.nodes.size() - kept.size();
    if (lost > 0) graph = BuildGraph(view, false, &kept);
    return lost;
  };
  if (cutoff > 0) {
    dropped = rebuild([&](size_t i) { return std::abs(graph.nodes[i].cum) >= cutoff; });
  }
  const size_t original = graph.nodes.size();
  Sort(graph, options.by_cum);
  if (options.node_count > 0 && graph.nodes.size() > options.node_count) {
    rebuild([&](size_t i) { return i < options.node_count; });
    Sort(graph, options.by_cum);
  }
  const auto edge_cutoff = std::abs(static_cast<int64_t>(total * options.edge_fraction));
  std::erase_if(graph.edges, [&](const Edge& edge) { return std::abs(edge.weight) < edge_cutoff; });
  LinkEdges(graph);
  graph.original_count = original;
  graph.dropped_nodes = dropped;
  return graph;
}

std::string OutputUnit(const View& view, const Graph& graph) {
  if (graph.nodes.empty()) return "minimum";
  int64_t smallest = 0;
  for (const Node& node : graph.nodes) {
    const int64_t value = std::abs(node.flat != 0 ? node.flat : node.cum);
    if (value > 0 && (smallest == 0 || value < smallest)) smallest = value;
  }
  if (smallest == 0) smallest = view.total;
  std::string unit = Scale(smallest, view.unit, "minimum").unit;
  const std::string largest = Scale(view.total, view.unit, "minimum").unit;
  if (unit != largest && smallest < view.total / 100) {
    unit = Scale(100 * smallest, view.unit, "minimum").unit;
  }
  return unit.empty() ? view.unit : unit;
}

}  // namespace hotpath::report
