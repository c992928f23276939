// Look-ups by address.
#include "daemon/placement/program_code.h"

#include <algorithm>
#include <utility>

namespace hotpath {

ProgramCode::ProgramCode(std::vector<CodeSegment> segments, std::vector<CodeExtent> extents,
                         std::map<uint64_t, std::string> stubs)
    : segments_(std::move(segments)), extents_(std::move(extents)), stubs_(std::move(stubs)) {
  std::erase_if(segments_, [](const CodeSegment& segment) {
    const uint64_t bytes = segment.bytes.size();
    return segment.address + bytes < bytes || segment.file_offset + bytes < bytes;
  });
}

const CodeSegment* ProgramCode::Find(uint64_t address) const {
  const auto found = std::ranges::find_if(segments_, [address](const CodeSegment& segment) {
    return address >= segment.address && address - segment.address < segment.bytes.size();
  });
  return found == segments_.end() ? nullptr : &*found;
}

std::span<const uint8_t> ProgramCode::At(uint64_t address, uint64_t bytes) const {
  const CodeSegment* segment = Find(address);
  if (segment == nullptr) return {};
  const std::span<const uint8_t> rest =
      std::span(segment->bytes).subspan(address - segment->address);
  return rest.first(std::min<uint64_t>(bytes, rest.size()));
}

std::optional<uint64_t> ProgramCode::OffsetOf(uint64_t address) const {
  const CodeSegment* segment = Find(address);
  if (segment == nullptr) return std::nullopt;
  return segment->file_offset + (address - segment->address);
}

const CodeExtent* ProgramCode::ExtentOf(uint64_t address) const {
  const auto after = std::ranges::upper_bound(extents_, address, {}, &CodeExtent::begin);
  if (after == extents_.begin()) return nullptr;
  const CodeExtent& extent = *std::prev(after);
  return address < extent.end ? &extent : nullptr;
}

std::string_view ProgramCode::StubAt(uint64_t address) const {
  const auto found = stubs_.find(address);
  return found == stubs_.end() ? std::string_view() : std::string_view(found->second);
}

}  // namespace hotpath
