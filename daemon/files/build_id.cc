// Walks ELF notes for build IDs.
#include "daemon/files/build_id.h"

#include <elf.h>
#include <fmt/format.h>

#include <cstring>

namespace hotpath {
namespace {

constexpr size_t kMaxBuildIdBytes = 64;
constexpr uint32_t kGoBuildIdNote = 4;

std::string Hex(std::span<const uint8_t> bytes) {
  std::string text;
  for (uint8_t byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

// Three FNV-1a sums from different starts, cut to the 40 digits that a GNU build ID has.
std::string HashHex(std::span<const uint8_t> bytes) {
  std::string text;
  for (uint64_t round = 0; round < 3; ++round) {
    uint64_t sum = 0xcbf29ce484222325ULL ^ (round * 0x9e3779b97f4a7c15ULL);
    for (uint8_t byte : bytes) sum = (sum ^ byte) * 0x100000001b3ULL;
    text += fmt::format("{:016x}", sum);
  }
  text.resize(40);
  return text;
}

}  // namespace

void FindBuildIds(std::span<const uint8_t> notes, uint64_t alignment, BuildIds& found) {
  const uint64_t mask = (alignment == 8 ? 8 : 4) - 1;
  uint64_t at = 0;
  while (notes.size() - at >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr header;
    std::memcpy(&header, notes.data() + at, sizeof(header));
    const uint64_t name = at + sizeof(header);
    const uint64_t desc = (name + header.n_namesz + mask) & ~mask;
    const uint64_t end = desc + header.n_descsz;
    if (end > notes.size()) return;
    const bool named = header.n_namesz == 4;
    const std::span<const uint8_t> bytes = notes.subspan(desc, header.n_descsz);
    if (named && header.n_type == NT_GNU_BUILD_ID && found.gnu.empty() && !bytes.empty() &&
        bytes.size() <= kMaxBuildIdBytes && std::memcmp(notes.data() + name, "GNU", 4) == 0) {
      found.gnu = Hex(bytes);
    }
    if (named && header.n_type == kGoBuildIdNote && found.go.empty() && !bytes.empty() &&
        std::memcmp(notes.data() + name, "Go\0", 4) == 0) {
      found.go = HashHex(bytes);
    }
    at = (end + mask) & ~mask;
    if (at > notes.size()) return;
  }
}

}  // namespace hotpath
