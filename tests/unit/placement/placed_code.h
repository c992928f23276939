// Machine code written by hand, and what PlaceFunctions() makes of it.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "daemon/placement/place_functions.h"

namespace hotpath {

constexpr uint64_t kCodeAddress = 0x401000;
constexpr uint64_t kCodeOffset = 0x1000;

// Code at kCodeAddress, in the file at kCodeOffset.
inline ProgramCode CodeOf(std::vector<uint8_t> bytes, std::vector<CodeExtent> extents = {},
                          std::map<uint64_t, std::string> stubs = {}) {
  std::vector<CodeSegment> segments;
  segments.push_back({kCodeAddress, kCodeOffset, std::move(bytes)});
  return {std::move(segments), std::move(extents), std::move(stubs)};
}

// The one function `name`, which is all of `bytes`.
inline ProbedFunction PlaceOne(const std::string& name, const std::vector<uint8_t>& bytes) {
  const auto placed = PlaceFunctions(CodeOf(bytes), {{name, kCodeAddress, bytes.size()}});
  return placed.empty() ? ProbedFunction{} : placed[0];
}

}  // namespace hotpath
