// What is measured: names and units that travel with the data, so that exporters know no type.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hotpath {

struct ValueType {
  std::string type;  // "cpu"
  std::string unit;  // "nanoseconds"
  friend bool operator==(const ValueType&, const ValueType&) = default;
};

struct ProfileType {
  std::string name;                     // "cpu": as in URLs and flags.
  std::vector<ValueType> sample_types;  // One value a sample for each, in this order.
  ValueType period_type;
  int64_t period = 0;  // In period_type's unit.
};

// samples/count and cpu/nanoseconds, period cpu/nanoseconds 1e9/hz: Go's names.
ProfileType CpuProfileType(int hz);

}  // namespace hotpath
