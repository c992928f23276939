// The profile types whose names are fixed by Go's convention.
#include "daemon/profile/profile_type.h"

namespace hotpath {

ProfileType CpuProfileType(int hz) {
  return {.name = "cpu",
          .sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}},
          .period_type = {"cpu", "nanoseconds"},
          .period = 1'000'000'000 / hz};
}

}  // namespace hotpath
