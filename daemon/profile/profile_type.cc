// The profile types whose names are fixed by Go's convention.
#include "daemon/profile/profile_type.h"

namespace hotpath {

ProfileType CpuProfileType(int hz) {
  return {.id = TypeId::kCpu,
          .name = "cpu",
          .sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}},
          .measures = {Measure::kSamples, Measure::kValue},
          .period_type = {"cpu", "nanoseconds"},
          .period = 1'000'000'000 / hz};
}

}  // namespace hotpath
