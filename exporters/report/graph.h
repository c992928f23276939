// Who calls whom, and how much: the call graph that top, peek and tree are drawn from.
#pragma once

#include <compare>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "exporters/report/view.h"

namespace hotpath::report {

// What tells nodes apart; parts that the granularity leaves out are empty.
struct NodeInfo {
  std::string name;
  uint64_t address = 0;
  std::string file;
  int64_t start_line = 0, line = 0;
  std::string object;  // The mapping's file; only where there is no function, or when asked for.

  // "00000000004005d0 main /src/main.c:12", without the parts that are empty; "[libc.so.6]" where
  // only the file is known; "<unknown>" where nothing is.
  std::string PrintableName() const;
  friend auto operator<=>(const NodeInfo&, const NodeInfo&) = default;
};

struct Edge {
  uint32_t caller = 0, callee = 0;  // Indices into Graph::nodes.
  int64_t weight = 0;
  bool inlined = true;  // Every call along it was inlined.
};

struct Node {
  NodeInfo info;
  std::string printable;  // info.PrintableName(), kept for sorting.
  int64_t flat = 0, cum = 0;
  uint32_t function = kNone;      // Of the profile: the heaviest that this node stands for.
  int32_t mapping = -1;           // As `function`.
  std::vector<uint32_t> in, out;  // Indices into Graph::edges, heaviest first.
  static constexpr uint32_t kNone = ~uint32_t{0};
};

struct TrimOptions {
  bool by_cum = false;       // Order by cum instead of flat.
  size_t node_count = 0;     // Keep the first so many; 0: all.
  double node_fraction = 0;  // Drop nodes whose cum is under this share of the total.
  double edge_fraction = 0;  // Drop edges likewise.
};

struct Graph {
  std::vector<Node> nodes;  // In order.
  std::vector<Edge> edges;
  size_t original_count = 0;  // Nodes before node_count cut them.
  size_t dropped_nodes = 0;   // By node_fraction.

  int64_t FlatSum() const;
};

// Every node counts once a sample, however often the stack holds it. `keep_objects`: functions of
// the same name in different files of code are different nodes.
Graph BuildGraph(const View& view, bool keep_objects, const std::set<NodeInfo>* kept = nullptr);

// The graph cut down as pprof does; edges around a node that was cut join its neighbours.
Graph BuildTrimmedGraph(const View& view, const TrimOptions& options);

// The unit in which pprof prints a graph: fits its smallest value, or a hundred of it.
std::string OutputUnit(const View& view, const Graph& graph);

}  // namespace hotpath::report
