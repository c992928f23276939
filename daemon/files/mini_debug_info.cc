// Unpacks .gnu_debugdata with liblzma, within bounds.
#include "daemon/files/mini_debug_info.h"

#include <elf.h>
#include <fmt/format.h>
#include <lzma.h>

#include <algorithm>
#include <utility>

namespace hotpath {
namespace {

constexpr uint64_t kMaxDecoderBytes = uint64_t{96} << 20;  // xz -9 needs 65 MiB.

}  // namespace

Result<std::vector<uint8_t>> UnpackXz(std::span<const uint8_t> packed, uint64_t max_bytes) {
  lzma_stream stream = LZMA_STREAM_INIT;
  if (lzma_stream_decoder(&stream, kMaxDecoderBytes, 0) != LZMA_OK) {
    return Fail(ErrorCode::kSystem, "start the xz decoder: out of memory");
  }
  std::vector<uint8_t> bytes;
  stream.next_in = packed.data();
  stream.avail_in = packed.size();
  lzma_ret status = LZMA_OK;
  // Grows in steps, so that a small stream which claims much costs little.
  while (status == LZMA_OK && bytes.size() < max_bytes) {
    const size_t done = bytes.size();
    bytes.resize(std::min<uint64_t>(max_bytes, std::max<uint64_t>(done * 2, 256 * 1024)));
    stream.next_out = bytes.data() + done;
    stream.avail_out = bytes.size() - done;
    status = lzma_code(&stream, LZMA_FINISH);
    bytes.resize(bytes.size() - stream.avail_out);
  }
  lzma_end(&stream);
  if (status == LZMA_STREAM_END) return bytes;
  if (status == LZMA_MEMLIMIT_ERROR || bytes.size() >= max_bytes) {
    return Fail(ErrorCode::kTooLarge, fmt::format("xz stream: unpacks past {} bytes", max_bytes));
  }
  return Fail(ErrorCode::kMalformed,
              fmt::format("xz stream: damaged near packed byte {}", stream.total_in));
}

Result<std::optional<ElfFile>> ReadMiniDebugInfo(const ElfFile& elf) {
  const ElfSection* section = elf.FindSection(".gnu_debugdata");
  if (section == nullptr || section->type == SHT_NOBITS) return std::nullopt;
  auto packed = elf.ReadSection(*section);
  if (!packed) return std::unexpected(packed.error());
  auto bytes = UnpackXz(*packed, kMaxMiniDebugInfoBytes);
  if (!bytes) {
    return Fail(bytes.error().code, ".gnu_debugdata: " + bytes.error().message);
  }
  auto inner = ElfFile::FromMemory(*std::move(bytes));
  if (!inner) return Fail(inner.error().code, ".gnu_debugdata: " + inner.error().message);
  return std::optional<ElfFile>(*std::move(inner));
}

}  // namespace hotpath
