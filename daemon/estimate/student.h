// The factor from a standard error to a 95 % interval.
#pragma once

#include <cstdint>

namespace hotpath {

// 97.5 % quantile of Student's t, within 0.01 from 4 degrees of freedom on (Abramowitz and Stegun
// 26.7.5). Fewer count as 4.
inline double Student975(uint64_t degrees) {
  const double n = degrees < 4 ? 4 : static_cast<double>(degrees);
  return 1.95996 + 2.37227 / n + 2.8225 / (n * n) + 2.5559 / (n * n * n) + 1.5895 / (n * n * n * n);
}

}  // namespace hotpath
