// Reads tag conditions and applies them; builds pseudo frames from labels.
#include "exporters/report/tag_filter.h"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "exporters/report/unit.h"

namespace hotpath::report {
namespace {

struct Bound {
  double value = 0;
  std::string unit;
};

// "12kb" -> (12, kB). Nullopt for anything but digits and letters.
std::optional<Bound> ParseBound(std::string_view text, std::string_view unit_wanted) {
  static const re2::RE2 kNumber("([+-]?[0-9]+)([A-Za-z]*)");
  std::string digits, unit;
  if (!re2::RE2::FullMatch(re2::StringPiece(text.data(), text.size()), kNumber, &digits, &unit)) {
    return std::nullopt;
  }
  if (digits.starts_with('+')) digits.erase(0, 1);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  ScaledValue scaled = Scale(number, unit, unit_wanted.empty() ? unit : unit_wanted);
  return Bound{scaled.value, std::move(scaled.unit)};
}

}  // namespace

bool TagFilter::ParseRange(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    const auto exact = ParseBound(text, "");
    if (!exact) return false;
    range_ = {true, true, exact->value, exact->value, exact->unit};
    return true;
  }
  const std::string_view low = text.substr(0, colon), high = text.substr(colon + 1);
  if (low.empty() && high.empty()) return false;
  if (!low.empty()) {
    const auto bound = ParseBound(low, "");
    if (!bound) return false;
    range_.has_low = true;
    range_.low = bound->value;
    range_.unit = bound->unit;
  }
  if (!high.empty()) {
    const auto bound = ParseBound(high, range_.unit);
    if (!bound || (range_.has_low && bound->unit != range_.unit)) return false;
    range_.has_high = true;
    range_.high = bound->value;
    range_.unit = bound->unit;
  }
  return true;
}

bool TagFilter::Range::Holds(int64_t value, const std::string& value_unit) const {
  // A bare number is compared with the value as it stands: "pid=150:300".
  const ScaledValue scaled =
      unit.empty() ? ScaledValue{static_cast<double>(value), ""} : Scale(value, value_unit, unit);
  return scaled.unit == unit && (!has_low || scaled.value >= low) &&
         (!has_high || scaled.value <= high);
}

Result<TagFilter> TagFilter::Parse(const std::string& text) {
  TagFilter filter;
  std::string_view value = text;
  if (const size_t equals = text.find('='); equals != std::string::npos) {
    filter.key_ = text.substr(0, equals);
    value = value.substr(equals + 1);
  }
  if (filter.ParseRange(value)) {
    filter.is_range_ = true;
    return filter;
  }
  while (true) {
    const size_t comma = value.find(',');
    const std::string_view part = value.substr(0, comma);
    auto expression = std::make_shared<const re2::RE2>(re2::StringPiece(part.data(), part.size()),
                                                       re2::RE2::Quiet);
    if (!expression->ok()) {
      return Fail(ErrorCode::kInvalidArgument,
                  "'" + std::string(part) + "' is no regular expression: " + expression->error());
    }
    filter.expressions_.push_back(std::move(expression));
    if (comma == std::string_view::npos) break;
    value = value.substr(comma + 1);
  }
  return filter;
}

bool TagFilter::Matches(const pprof::Sample& sample,
                        const std::map<std::string, std::string>& units) const {
  if (is_range_) {
    return std::ranges::any_of(sample.labels, [&](const pprof::Label& label) {
      if (!label.str.empty() || (!key_.empty() && label.key != key_)) return false;
      const auto unit = units.find(label.key);
      return range_.Holds(label.num, unit == units.end() ? std::string() : unit->second);
    });
  }
  const auto found = [&](const re2::RE2& expression) {
    return std::ranges::any_of(sample.labels, [&](const pprof::Label& label) {
      if (label.str.empty()) return false;
      if (!key_.empty()) return label.key == key_ && re2::RE2::PartialMatch(label.str, expression);
      return re2::RE2::PartialMatch(label.key + ":" + label.str, expression);
    });
  };
  const auto matches = [&](const auto& expression) { return found(*expression); };
  return key_.empty() ? std::ranges::all_of(expressions_, matches)
                      : std::ranges::any_of(expressions_, matches);
}

bool AddTagRoots(pprof::Profile& profile, const std::vector<std::string>& keys) {
  bool matched = false;
  std::map<std::pair<std::string, std::string>, uint32_t> locations;  // (name, key) -> location.
  for (pprof::Sample& sample : profile.samples) {
    for (auto key = keys.rbegin(); key != keys.rend(); ++key) {
      std::string name;
      for (const pprof::Label& label : sample.labels) {
        if (label.key != *key) continue;
        matched = true;
        if (!name.empty()) name += ',';
        name += label.str.empty() ? ScaledLabel(label.num, label.num_unit, "minimum") : label.str;
      }
      const auto [entry, added] = locations.try_emplace({name, *key}, profile.locations.size());
      if (added) {
        const auto function = static_cast<uint32_t>(profile.functions.size());
        profile.functions.push_back({name, name, *key, 0});
        profile.locations.push_back({-1, 0, {{function, 0}}});
      }
      sample.locations.push_back(entry->second);
    }
  }
  return matched;
}

std::map<std::string, std::string> LabelUnits(const pprof::Profile& profile) {
  std::map<std::string, std::string> units;
  for (const pprof::Sample& sample : profile.samples) {
    for (const pprof::Label& label : sample.labels) {
      if (!label.str.empty()) continue;
      std::string& unit = units[label.key];
      if (unit.empty()) unit = label.num_unit;
    }
  }
  for (auto& [key, unit] : units) {
    if (unit.empty()) unit = key == "alignment" || key == "request" ? "bytes" : key;
  }
  return units;
}

}  // namespace hotpath::report
