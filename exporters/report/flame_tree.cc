// Merges stacks from the root.
#include "exporters/report/flame_tree.h"

#include <algorithm>
#include <map>

#include "exporters/report/csv.h"
#include "exporters/report/quality.h"

namespace hotpath::report {
namespace {

constexpr size_t kDeepest = 1024;

struct FlameFrame {
  std::string name;
  FrameTone tone = FrameTone::kUser;
};

FrameTone ToneOf(const std::string& name, const std::string& object, bool inlined) {
  if (name.starts_with("[truncated: ") || name.starts_with("[lost: ")) return FrameTone::kMissing;
  if (object.starts_with("[kernel")) return FrameTone::kKernel;
  if (IsUnnamed(name)) return FrameTone::kUnnamed;
  return inlined ? FrameTone::kInlined : FrameTone::kUser;
}

// Innermost first.
std::vector<FlameFrame> FramesOf(const pprof::Profile& profile, const pprof::Location& location) {
  const std::string object =
      location.mapping >= 0 ? profile.mappings[location.mapping].file : std::string();
  NodeInfo info;
  info.address = location.address;
  if (location.lines.empty()) {
    info.object = object;
    const FrameTone tone = object.starts_with("[kernel") ? FrameTone::kKernel : FrameTone::kUnnamed;
    return {{info.PrintableName(), tone}};
  }
  std::vector<FlameFrame> frames;
  for (size_t i = 0; i < location.lines.size(); ++i) {
    const pprof::Function& function = profile.functions[location.lines[i].function];
    info.name = function.name;
    info.file = function.file;
    info.line = location.lines[i].line;
    const FrameTone tone = ToneOf(function.name, object, i + 1 != location.lines.size());
    frames.push_back({info.PrintableName(), tone});
  }
  return frames;
}

// A node while it grows; children are found by name.
struct Growing {
  FrameTone tone = FrameTone::kUser;
  int64_t value = 0;
  std::map<std::string, uint32_t> children;  // Name -> index in the arena.
};

FlameNode Finish(const std::vector<Growing>& arena, uint32_t index, std::string name) {
  const Growing& growing = arena[index];
  FlameNode node{std::move(name), growing.tone, growing.value, {}};
  for (const auto& [child_name, child] : growing.children) {
    node.children.push_back(Finish(arena, child, child_name));
  }
  return node;
}

void Fold(const FlameNode& node, const std::string& path, std::string& csv) {
  int64_t own = node.value;
  for (const FlameNode& child : node.children) {
    own -= child.value;
    Fold(child, path.empty() ? child.name : path + ";" + child.name, csv);
  }
  if (own > 0 && !path.empty()) csv += CsvRow(path, own);
}

Json NodeToJson(const FlameNode& node) {
  Json children = Json::array();
  for (const FlameNode& child : node.children) children.push_back(NodeToJson(child));
  return Json{{"name", node.name}, {"value", node.value}, {"children", std::move(children)}};
}

}  // namespace

FlameNode BuildFlameTree(const View& view) {
  const pprof::Profile& profile = view.profile;
  std::vector<std::vector<FlameFrame>> frames;
  frames.reserve(profile.locations.size());
  for (const pprof::Location& location : profile.locations) {
    frames.push_back(FramesOf(profile, location));
  }
  std::vector<Growing> arena(1);
  for (const pprof::Sample& sample : profile.samples) {
    const int64_t value = view.Value(sample);
    if (value <= 0) continue;
    uint32_t at = 0;
    size_t depth = 0;
    arena[0].value += value;
    for (auto it = sample.locations.rbegin(); it != sample.locations.rend(); ++it) {
      const std::vector<FlameFrame>& lines = frames[*it];
      for (auto frame = lines.rbegin(); frame != lines.rend() && depth < kDeepest; ++frame) {
        ++depth;
        const auto next = static_cast<uint32_t>(arena.size());
        const auto [child, added] = arena[at].children.try_emplace(frame->name, next);
        at = child->second;
        if (added) arena.push_back({frame->tone, 0, {}});
        arena[at].value += value;
      }
    }
  }
  return Finish(arena, 0, "all");
}

std::string FlameCsv(const FlameNode& root) {
  std::string csv = CsvRow("stack", "value");
  Fold(root, "", csv);
  return csv;
}

Json FlameJson(const View& view, const FlameNode& root) {
  Json json = JsonHeader(view);
  json["root"] = NodeToJson(root);
  return json;
}

}  // namespace hotpath::report
