// Decompression of gzip bytes that nobody vouches for.
#include "exporters/pprof/gunzip.h"

#include <fmt/format.h>
#include <libdeflate.h>

#include <algorithm>
#include <memory>

namespace hotpath::pprof {
namespace {

constexpr size_t kFirstBytes = 64 << 10;
constexpr size_t kMaxRatio = 1032;  // Of deflate: 258 bytes cost at least two bits.
constexpr size_t kTrailerBytes = 4;

// What the last member says of its size, within what its compressed size allows.
size_t GuessBytes(std::string_view bytes) {
  size_t size = 0;
  if (bytes.size() >= kTrailerBytes) {
    for (size_t i = 0; i < kTrailerBytes; ++i) {
      size |= size_t{static_cast<uint8_t>(bytes[bytes.size() - kTrailerBytes + i])} << (8 * i);
    }
  }
  return std::max(kFirstBytes, std::min(size, bytes.size() * kMaxRatio));
}

}  // namespace

bool IsGzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

Result<std::string> Gunzip(std::string_view bytes, size_t max_bytes) {
  const std::unique_ptr<libdeflate_decompressor, decltype(&libdeflate_free_decompressor)>
      decompressor(libdeflate_alloc_decompressor(), &libdeflate_free_decompressor);
  if (decompressor == nullptr) return Fail(ErrorCode::kSystem, "gzip: out of memory");
  std::string out;
  size_t used = 0;
  while (!bytes.empty()) {
    size_t room = std::min(GuessBytes(bytes), max_bytes - used);
    for (;;) {
      out.resize(used + room);
      size_t consumed = 0;
      size_t produced = 0;
      const libdeflate_result result =
          libdeflate_gzip_decompress_ex(decompressor.get(), bytes.data(), bytes.size(),
                                        out.data() + used, room, &consumed, &produced);
      if (result == LIBDEFLATE_SUCCESS) {
        used += produced;
        bytes.remove_prefix(consumed);
        break;
      }
      if (result != LIBDEFLATE_INSUFFICIENT_SPACE) {
        return Fail(ErrorCode::kMalformed, "gzip: broken or cut short");
      }
      if (room == max_bytes - used) {
        return Fail(ErrorCode::kTooLarge, fmt::format("gzip: more than {} bytes", max_bytes));
      }
      room = std::min(room * 2, max_bytes - used);
    }
  }
  out.resize(used);
  return out;
}

}  // namespace hotpath::pprof
