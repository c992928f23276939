// Every distinct stack once.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "daemon/base/strong_id.h"
#include "daemon/profile/frame.h"

namespace hotpath {

// Frames of all stacks in one vector, found again by hash. One owner, one thread.
// 8 bytes a frame and about 50 a stack.
class StackTable {
 public:
  // The id of `frames` (leaf first), the same for equal frames.
  StackId Intern(std::span<const Frame> frames);
  bool Holds(std::span<const Frame> frames) const;
  std::span<const Frame> Frames(StackId id) const;
  size_t size() const { return begins_.size(); }
  size_t bytes() const;

 private:
  std::optional<StackId> Find(uint64_t hash, std::span<const Frame> frames) const;

  std::vector<Frame> frames_;
  std::vector<uint32_t> begins_;                         // Where each stack starts in frames_.
  std::unordered_multimap<uint64_t, uint32_t> by_hash_;  // Hash of the frames -> stack.
};

}  // namespace hotpath
