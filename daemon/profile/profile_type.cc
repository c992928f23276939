// The table of profile types: their names, values and units, Go's where Go has one.
#include "daemon/profile/profile_type.h"

#include <fmt/format.h>

#include <algorithm>

namespace hotpath {

ProfileType CpuProfileType(int hz) {
  return {.id = TypeId::kCpu,
          .name = "cpu",
          .sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}},
          .measures = {Measure::kSamples, Measure::kValue},
          .default_sample_type = "cpu",
          .period_type = {"cpu", "nanoseconds"},
          .period = 1'000'000'000 / hz,
          .endpoint = "profile",
          .title = "Time on CPUs, user and kernel.",
          .comment = {}};
}

ProfileType MemoryGrowthProfileType() {
  return {.id = TypeId::kMemoryGrowth,
          .name = "memory_growth",
          .sample_types = {{"faults", "count"}, {"growth_space", "bytes"}},
          .measures = {Measure::kValue, Measure::kBytes},
          .default_sample_type = "growth_space",
          .period_type = {"faults", "count"},
          .estimated = true,
          .endpoint = "memory_growth",
          .title = "Who touched memory for the first time, and so made a process grow.",
          .comment =
              "memory_growth: faults on private memory of no file, 4096 bytes each, a huge "
              "page too; what was given back since is in it"};
}

ProfileType AllocsProfileType() {
  return {.id = TypeId::kAllocs,
          .name = "allocs",
          .sample_types = {{"alloc_objects", "count"}, {"alloc_space", "bytes"}},
          .measures = {Measure::kValue, Measure::kBytes},
          .default_sample_type = "alloc_space",
          .period_type = {"space", "bytes"},
          .period = 4096,
          .weighed_late = true,
          .estimated = true,
          .endpoint = "allocs",
          .title = "Who asks allocators for memory, by windows of probes.",
          .comment = "allocs: estimated from windows; what was freed since is in it"};
}

std::vector<ProfileType> ProfileTypes(int hz) {
  return {CpuProfileType(hz), AllocsProfileType(), MemoryGrowthProfileType()};
}

Result<ProfileType> FindProfileType(std::string_view name, int hz) {
  std::vector<ProfileType> types = ProfileTypes(hz);
  const auto found = std::ranges::find(types, name, &ProfileType::name);
  if (found == types.end()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("{}: no such profile type: {}", name, ProfileTypeNames()));
  }
  return std::move(*found);
}

std::string ProfileTypeNames() {
  std::string names;
  for (const ProfileType& type : ProfileTypes(1)) {
    names += (names.empty() ? "" : ", ") + type.name;
  }
  return names;
}

}  // namespace hotpath
