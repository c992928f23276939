// The exponential distribution, for code that has no logarithm.
#include "daemon/estimate/byte_sampling.h"

#include <algorithm>
#include <cmath>

namespace hotpath {

namespace {
constexpr uint64_t kMaxMean = 256ULL << 20;  // 16 T fit 32 bits: tables of millions.
}  // namespace

Result<ByteSampling> ByteSampling::Every(uint64_t mean_bytes) {
  if (mean_bytes < 1 || mean_bytes > kMaxMean) {
    return Fail(ErrorCode::kInvalidArgument, "allocation sampling interval " +
                                                 std::to_string(mean_bytes) +
                                                 " bytes: must be 1 byte to 256 MiB");
  }
  return ByteSampling(mean_bytes);
}

double ByteSampling::Probability(uint64_t size_bytes) const {
  const double size = static_cast<double>(std::max<uint64_t>(size_bytes, 1));
  return -std::expm1(-size / static_cast<double>(mean_bytes_));
}

double ByteSampling::Objects(uint64_t size_bytes) const { return 1 / Probability(size_bytes); }

double ByteSampling::Bytes(uint64_t size_bytes) const {
  return static_cast<double>(size_bytes) / Probability(size_bytes);
}

std::vector<uint32_t> ByteSampling::Distances(size_t count) const {
  // The mean of -ln s over s in [low, high] is (F(high) - F(low)) / (high - low), F(s) = s - s ln
  // s.
  const auto primitive = [](double s) { return s > 0 ? s - s * std::log(s) : 0; };
  const auto n = static_cast<double>(count);
  const auto mean = static_cast<double>(mean_bytes_);
  std::vector<uint32_t> distances(count);
  for (size_t i = 0; i < count; ++i) {
    const double low = static_cast<double>(i) / n;
    const double high = static_cast<double>(i + 1) / n;
    const double distance = mean * n * (primitive(high) - primitive(low));
    distances[i] = static_cast<uint32_t>(std::clamp(std::round(distance), 1.0, 4294967295.0));
  }
  return distances;
}

}  // namespace hotpath
