// Units of memory and time, their aliases, and how values are rounded.
#include "exporters/report/unit.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <span>

namespace hotpath::report {
namespace {

struct Unit {
  std::string_view name;
  std::array<std::string_view, 3> aliases;  // Lower case, singular; empty = unused.
  double factor;                            // In the family's smallest unit.
};

constexpr std::array<Unit, 6> kMemory = {{
    {"B", {"b", "byte"}, 1},
    {"kB", {"kb", "kbyte", "kilobyte"}, 1024.0},
    {"MB", {"mb", "mbyte", "megabyte"}, 1048576.0},
    {"GB", {"gb", "gbyte", "gigabyte"}, 1073741824.0},
    {"TB", {"tb", "tbyte", "terabyte"}, 1099511627776.0},
    {"PB", {"pb", "pbyte", "petabyte"}, 1125899906842624.0},
}};
constexpr std::array<Unit, 5> kTime = {{
    {"ns", {"ns", "nanosecond"}, 1},
    {"us", {"μs", "us", "microsecond"}, 1e3},
    {"ms", {"ms", "millisecond"}, 1e6},
    {"s", {"s", "sec", "second"}, 1e9},
    {"hrs", {"hour", "hr"}, 3600e9},
}};

struct Family {
  std::span<const Unit> units;
  size_t fallback;  // Used for values under the smallest unit and for targets of another family.
};
constexpr std::array<Family, 2> Families() { return {Family{kMemory, 0}, Family{kTime, 3}}; }

const Unit* FindUnit(const Family& family, std::string_view name) {
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower.size() > 2 && lower.back() == 's') lower.pop_back();
  if (lower.empty()) return nullptr;
  for (const Unit& unit : family.units) {
    if (std::ranges::find(unit.aliases, lower) != unit.aliases.end()) return &unit;
  }
  return nullptr;
}

ScaledValue AutoScale(const Family& family, double value) {
  const Unit* best = nullptr;
  for (const Unit& unit : family.units) {
    if (value / unit.factor >= 1.0) best = &unit;
  }
  if (!best) best = &family.units[family.fallback];
  return {value / best->factor, std::string(best->name)};
}

bool IsAutomatic(std::string_view unit) { return unit == "minimum" || unit == "auto"; }

}  // namespace

ScaledValue Scale(int64_t value, std::string_view from, std::string_view to) {
  if (value < 0 && value != std::numeric_limits<int64_t>::min()) {
    ScaledValue positive = Scale(-value, from, to);
    return {-positive.value, std::move(positive.unit)};
  }
  for (const Family& family : Families()) {
    const Unit* source = FindUnit(family, from);
    if (!source) continue;
    const double base = static_cast<double>(value) * source->factor;
    if (IsAutomatic(to)) return AutoScale(family, base);
    const Unit* target = FindUnit(family, to);
    if (!target) target = &family.units[family.fallback];
    return {base / target->factor, std::string(target->name)};
  }
  const bool silent = to == "count" || to == "sample" || to == "unit" || IsAutomatic(to);
  return {static_cast<double>(value), silent ? std::string() : std::string(to)};
}

std::string ScaledLabel(int64_t value, std::string_view from, std::string_view to) {
  const ScaledValue scaled = Scale(value, from, to);
  std::string text = fmt::format("{:.2f}", scaled.value);
  if (text.ends_with(".00")) text.resize(text.size() - 3);
  if (text == "0" || text == "-0") return "0";
  return text + scaled.unit;
}

std::string Percentage(int64_t value, int64_t total) {
  double percent = 0;
  if (total != 0) {
    percent = std::abs(static_cast<double>(value) / static_cast<double>(total)) * 100;
  }
  if (percent >= 99.95 && percent <= 100.05) return "  100%";
  if (percent >= 1.0) return fmt::format("{:5.2f}%", percent);
  return fmt::format("{:5.2g}%", percent);
}

std::string TrimmedPercentage(int64_t value, int64_t total) {
  std::string text = Percentage(value, total);
  text.erase(0, text.find_first_not_of(' '));
  return text;
}

}  // namespace hotpath::report
