// All stacks of a profile as one tree, root first: what flame graphs draw.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "exporters/report/header.h"

namespace hotpath::report {

enum class FrameTone : uint8_t { kUser, kInlined, kKernel, kUnnamed, kMissing };  // A colour each.

// Owns its children, which are sorted by name, so that pictures of two profiles look alike.
// Their values add up to at most `value`; the rest is the frame's own.
struct FlameNode {
  std::string name;
  FrameTone tone = FrameTone::kUser;
  int64_t value = 0;
  std::vector<FlameNode> children;
};

// The root is named "all" and holds the sum of the samples that are left after filtering.
// Negative values (of a difference) are left out. Stacks are cut at 1,024 frames.
FlameNode BuildFlameTree(const View& view);

// Folded stacks: "stack,value", frames joined by ';', root first.
std::string FlameCsv(const FlameNode& root);
// {"profile_type":..., "root":{"name","value","children":[...]}}
Json FlameJson(const View& view, const FlameNode& root);

}  // namespace hotpath::report
