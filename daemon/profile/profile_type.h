// What is measured: names and units that travel with the data, so that exporters know no type.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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
  std::string name;                     // "cpu": as in URLs and flags.
  std::vector<ValueType> sample_types;  // One value a row for each, in this order.
  std::vector<Measure> measures;        // What each of them sums up.
  ValueType period_type;
  int64_t period = 0;  // In period_type's unit.
};

// samples/count and cpu/nanoseconds, period cpu/nanoseconds 1e9/hz: Go's names.
ProfileType CpuProfileType(int hz);

}  // namespace hotpath
