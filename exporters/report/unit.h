// Values in words: "1.20s", "512kB", "12.34%", scaled and rounded as Go's pprof does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hotpath::report {

struct ScaledValue {
  double value = 0;
  std::string unit;  // Empty where naming it says nothing ("count").
};

// `value` of unit `from` in unit `to`. `to` = "minimum" or "auto" picks the largest unit that keeps
// the value at or above 1. Units that do not convert (count, widgets) come back unchanged.
ScaledValue Scale(int64_t value, std::string_view from, std::string_view to);

// Scale() as text: two decimals, none when they are ".00", "0" for nothing.
std::string ScaledLabel(int64_t value, std::string_view from, std::string_view to);

// |value / total| in six characters: "  100%", "12.34%", " 0.12%"; total 0 gives "    0%".
std::string Percentage(int64_t value, int64_t total);

// "  7.30%" without its padding.
std::string TrimmedPercentage(int64_t value, int64_t total);

}  // namespace hotpath::report
