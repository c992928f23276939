// Indices that do not mix: a StackId is not a FileId.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace hotpath {

template <typename Tag>
struct StrongId {
  uint32_t value = 0;
  friend auto operator<=>(const StrongId&, const StrongId&) = default;
};

using FileId = StrongId<struct FileIdTag>;    // Never given again; 0 = no file.
using StackId = StrongId<struct StackIdTag>;  // Index into one StackTable.

}  // namespace hotpath

template <typename Tag>
struct std::hash<hotpath::StrongId<Tag>> {
  size_t operator()(const hotpath::StrongId<Tag>& id) const noexcept { return id.value; }
};
