// What is measured: names and units that travel with the data, so that exporters know no type.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"

namespace hotpath {

// Numbers are those of bpf/abi.h.
enum class TypeId : uint8_t {
  kCpu,           // Time on a CPU.
  kAllocs,        // Memory asked of an allocator.
  kMemoryGrowth,  // First touches of memory.
};
inline constexpr size_t kTypes = 3;

struct ValueType {
  std::string type;  // "cpu"
  std::string unit;  // "nanoseconds"
  friend bool operator==(const ValueType&, const ValueType&) = default;
};

// What of a sample is summed up.
enum class Measure : uint8_t {
  kSamples,  // 1: how many there were.
  kValue,    // Sample::value.
  kBytes,    // Sample::bytes.
};

struct ProfileType {
  TypeId id = TypeId::kCpu;
  std::string name;                     // "cpu": as in flags; of most also the endpoint.
  std::vector<ValueType> sample_types;  // One value a row for each, in this order.
  std::vector<Measure> measures;        // What each of them sums up.
  std::string default_sample_type;      // Empty: the last.
  ValueType period_type;
  int64_t period = 0;         // In period_type's unit; 0: told by the capture, as value / samples.
  bool weighed_late = false;  // What a sample stands for is known when its capture ends.
  bool estimated = false;     // A sample stands for many events: the profile says how many it has.
  std::string endpoint;       // The last word of its URL: "profile" for cpu.
  std::string title;          // One sentence, for people who choose a type.
  std::string comment;        // What its values leave out; empty: nothing.
};

// All the types that a capture can be of; `hz` is the rate of cpu's. A type is one row of it.
std::vector<ProfileType> ProfileTypes(int hz);
// Errors: kNotFound, which names the known ones.
Result<ProfileType> FindProfileType(std::string_view name, int hz);
// "cpu, memory_growth"
std::string ProfileTypeNames();

// samples/count and cpu/nanoseconds, period cpu/nanoseconds 1e9/hz: Go's names.
ProfileType CpuProfileType(int hz);
// alloc_objects/count and alloc_space/bytes, period space/bytes: the mean number of bytes from one
// sampled byte to the next (AllocProbes::kSampleBytes). Go's names.
ProfileType AllocsProfileType();
// faults/count and growth_space/bytes.
ProfileType MemoryGrowthProfileType();

}  // namespace hotpath
