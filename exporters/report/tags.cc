// Adds up the chosen value by label and prints one table a key.
#include "exporters/report/tags.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "exporters/report/csv.h"
#include "exporters/report/unit.h"

namespace hotpath::report {
namespace {

struct TagValue {
  std::string text;
  int64_t flat = 0;
};
struct Tag {
  std::string key;
  int64_t total = 0;
  std::vector<TagValue> values;  // Heaviest first.
};

// Sorted by key.
std::vector<Tag> CollectTags(const View& view) {
  std::map<std::string, std::map<std::string, int64_t>> sums;
  for (const pprof::Sample& sample : view.profile.samples) {
    for (const pprof::Label& label : sample.labels) {
      const auto unit = view.label_units.find(label.key);
      const std::string text =
          label.str.empty()
              ? ScaledLabel(label.num, unit == view.label_units.end() ? "" : unit->second,
                            "minimum")
              : label.str;
      sums[label.key][text] += view.Value(sample);
    }
  }
  std::vector<Tag> tags;
  for (const auto& [key, values] : sums) {
    Tag tag{key, 0, {}};
    for (const auto& [text, flat] : values) {
      tag.total += flat;
      tag.values.push_back({text, flat});
    }
    std::ranges::stable_sort(tag.values, [](const TagValue& left, const TagValue& right) {
      return left.flat > right.flat;
    });
    tags.push_back(std::move(tag));
  }
  return tags;
}

std::string Amount(const View& view, int64_t value) {
  const ScaledValue scaled = Scale(value, view.unit, "minimum");
  return fmt::format("{:.1f}{}", scaled.value, scaled.unit);
}

}  // namespace

std::string TagsText(const View& view) {
  std::string text;
  for (const Tag& tag : CollectTags(view)) {
    // Two right-aligned columns; a table's first column is as wide as its widest cell and a space.
    std::vector<std::string> cells;
    size_t width = 0;
    for (const TagValue& value : tag.values) {
      cells.push_back(tag.total > 0 ? fmt::format("{} ({}):", Amount(view, value.flat),
                                                  Percentage(value.flat, tag.total))
                                    : Amount(view, value.flat) + ":");
      width = std::max(width, cells.back().size() + 1);
    }
    const std::string indent(tag.key.size() + 2, ' ');
    text += fmt::format(" {}: Total {}\n", tag.key, Amount(view, tag.total));
    for (size_t i = 0; i < cells.size(); ++i) {
      text += fmt::format("{}{:>{}} {}\n", indent, cells[i], width, tag.values[i].text);
    }
    text += "\n";
  }
  return text;
}

Json TagsJson(const View& view) {
  Json json = JsonHeader(view);
  json["tags"] = Json::array();
  for (const Tag& tag : CollectTags(view)) {
    Json values = Json::array();
    for (const TagValue& value : tag.values) {
      values.push_back(Json{
          {"value", value.text}, {"flat", value.flat}, {"ratio", Ratio(value.flat, tag.total)}});
    }
    json["tags"].push_back(
        Json{{"key", tag.key}, {"total", tag.total}, {"values", std::move(values)}});
  }
  return json;
}

std::string TagsCsv(const View& view) {
  std::string csv = CsvRow("key", "value", "flat", "ratio");
  for (const Tag& tag : CollectTags(view)) {
    for (const TagValue& value : tag.values) {
      csv += CsvRow(tag.key, value.text, value.flat, Ratio(value.flat, tag.total));
    }
  }
  return csv;
}

}  // namespace hotpath::report
