// Fuzzes the profile decoder; what it accepts must survive being written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "exporters/pprof/profile.h"

namespace {

constexpr size_t kMaxBytes = size_t{16} << 20;

void Require(bool promise) {
  if (!promise) abort();
}

hotpath::pprof::Profile Again(const std::string& bytes) {
  auto profile = hotpath::pprof::Decode(bytes);
  Require(profile.has_value());
  return std::move(*profile);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto profile = hotpath::pprof::Decode(bytes, kMaxBytes);
  if (!profile) {
    Require(!profile.error().message.empty());
    return 0;
  }
  for (const auto& sample : profile->samples) {
    Require(sample.values.size() == profile->sample_types.size());
    for (const uint32_t location : sample.locations) Require(location < profile->locations.size());
  }
  // The first writing repairs strings that are no UTF-8, which may make two of them one.
  const std::string second = hotpath::pprof::Encode(Again(hotpath::pprof::Encode(*profile)));
  Require(hotpath::pprof::Encode(Again(second)) == second);
  Require(hotpath::pprof::Encode(Again(hotpath::pprof::EncodeGzip(*profile))) == second);
  return 0;
}
