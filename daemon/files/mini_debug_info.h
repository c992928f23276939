// .gnu_debugdata: an xz-packed ELF with the symbols a distribution kept back (MiniDebugInfo).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/files/elf_file.h"

namespace hotpath {

inline constexpr uint64_t kMaxMiniDebugInfoBytes = uint64_t{128} << 20;  // Unpacked.

// nullopt when `elf` has none. Errors: kMalformed (no xz, no ELF inside), kTooLarge (past
// kMaxMiniDebugInfoBytes, or more than 64 MiB of dictionary).
Result<std::optional<ElfFile>> ReadMiniDebugInfo(const ElfFile& elf);

// Unpacks one xz stream. Errors as above.
Result<std::vector<uint8_t>> UnpackXz(std::span<const uint8_t> packed, uint64_t max_bytes);

}  // namespace hotpath
