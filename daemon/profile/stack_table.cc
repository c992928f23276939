// Interning of stacks.
#include "daemon/profile/stack_table.h"

#include <algorithm>

namespace hotpath {
namespace {

// Multiply and fold, one step a frame (the constant is 2^64 divided by the golden ratio).
uint64_t HashFrames(std::span<const Frame> frames) {
  uint64_t hash = frames.size();
  for (Frame frame : frames) {
    hash = (hash ^ frame.bits) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace

std::optional<StackId> StackTable::Find(uint64_t hash, std::span<const Frame> frames) const {
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const StackId id{it->second};
    if (std::ranges::equal(Frames(id), frames)) return id;
  }
  return std::nullopt;
}

bool StackTable::Holds(std::span<const Frame> frames) const {
  return Find(HashFrames(frames), frames).has_value();
}

StackId StackTable::Intern(std::span<const Frame> frames) {
  const uint64_t hash = HashFrames(frames);
  if (const std::optional<StackId> known = Find(hash, frames)) return *known;
  const StackId id{static_cast<uint32_t>(begins_.size())};
  begins_.push_back(static_cast<uint32_t>(frames_.size()));
  frames_.insert(frames_.end(), frames.begin(), frames.end());
  by_hash_.emplace(hash, id.value);
  return id;
}

std::span<const Frame> StackTable::Frames(StackId id) const {
  const size_t begin = begins_.at(id.value);
  const size_t end = id.value + 1 < begins_.size() ? begins_[id.value + 1] : frames_.size();
  return std::span(frames_).subspan(begin, end - begin);
}

size_t StackTable::bytes() const {
  return frames_.capacity() * sizeof(Frame) + begins_.capacity() * sizeof(uint32_t) +
         by_hash_.size() * 40 + by_hash_.bucket_count() * 8;
}

}  // namespace hotpath
