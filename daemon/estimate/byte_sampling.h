// Poisson sampling of allocations by their bytes: which are kept, and what each stands for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "daemon/base/result.h"

namespace hotpath {

// A sampled point falls on every byte with the same small chance, one in `mean_bytes` (T). An
// allocation of s bytes is kept if a point falls into it: p(s) = 1 - exp(-s / T).
//
// Example, T = 512 KiB: of 1 MiB allocations 86 % are kept and each stands for 1.16 objects; of
// 64-byte ones one in 8,193 is kept and stands for 8,192.5 objects, 512 KiB.
//
// BPF has no logarithm: it draws the distance to the next point from Distances(), takes the size of
// each allocation off, and keeps the one that brings it to zero or below; then it draws again.
// Immutable.
class ByteSampling {
 public:
  // Errors: kInvalidArgument unless 1 <= mean_bytes <= 256 MiB.
  static Result<ByteSampling> Every(uint64_t mean_bytes);

  uint64_t mean_bytes() const { return mean_bytes_; }

  // p(s). malloc(0) takes a block too: sizes count as at least 1.
  double Probability(uint64_t size_bytes) const;
  // What a kept allocation stands for: 1 / p(s) objects, s / p(s) bytes. Unbiased for any sizes.
  double Objects(uint64_t size_bytes) const;
  double Bytes(uint64_t size_bytes) const;

  // `count` distances, all equally likely: the means of the exponential distribution's `count`
  // quantile ranges, so that their mean is T within 0.1 % (rounding, for T >= 1024). The longest is
  // (1 + ln count) T. `count` >= 1.
  std::vector<uint32_t> Distances(size_t count) const;

 private:
  explicit ByteSampling(uint64_t mean_bytes) : mean_bytes_(mean_bytes) {}
  uint64_t mean_bytes_;
};

}  // namespace hotpath
