// Joins profiles: equal mappings, functions, locations and samples become one.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>

#include "exporters/report/unit.h"
#include "exporters/report/view.h"

namespace hotpath::report {
namespace {

// Appends profiles to one result, finding equal parts again by value.
class Merger {
 public:
  explicit Merger(pprof::Profile header) : merged_(std::move(header)) {
    merged_.mappings.clear();
    merged_.functions.clear();
    merged_.locations.clear();
    merged_.samples.clear();
  }

  // `columns[i]` is the value of `source` that becomes value i, times `scale[i]`.
  void Add(const pprof::Profile& source, const std::vector<size_t>& columns,
           const std::vector<double>& scale);
  pprof::Profile Finish() {
    std::erase_if(merged_.samples, [](const pprof::Sample& sample) {
      return std::ranges::all_of(sample.values, [](int64_t value) { return value == 0; });
    });
    return std::move(merged_);
  }

 private:
  struct MappingPlace {
    int32_t index = -1;
    uint64_t shift = 0;  // What to add to an address of the source; may wrap.
  };
  using LabelKey = std::tuple<std::string, std::string, int64_t, std::string>;

  // Where the parts of the source being added have gone; kNew until a sample asks for them, so
  // that the result numbers its parts in the order of use, as pprof does.
  struct Places {
    std::vector<std::optional<MappingPlace>> mappings;
    std::vector<uint32_t> functions, locations;
  };
  static constexpr uint32_t kNew = ~uint32_t{0};

  MappingPlace PlaceMapping(const pprof::Profile& source, Places& places, int32_t index);
  uint32_t PlaceFunction(const pprof::Profile& source, Places& places, uint32_t index);
  uint32_t PlaceLocation(const pprof::Profile& source, Places& places, uint32_t index);

  pprof::Profile merged_;
  std::map<std::tuple<uint64_t, uint64_t, std::string>, int32_t> mappings_;
  std::map<std::tuple<std::string, std::string, std::string, int64_t>, uint32_t> functions_;
  std::map<std::tuple<int32_t, uint64_t, std::vector<std::pair<uint32_t, int64_t>>>, uint32_t>
      locations_;
  std::map<std::pair<std::vector<uint32_t>, std::vector<LabelKey>>, size_t> samples_;
};

Merger::MappingPlace Merger::PlaceMapping(const pprof::Profile& source, Places& places,
                                          int32_t index) {
  constexpr uint64_t kPage = 4096;
  std::optional<MappingPlace>& place = places.mappings[index];
  if (place) return *place;
  const pprof::Mapping& mapping = source.mappings[index];
  const uint64_t size = (mapping.limit - mapping.start + kPage - 1) / kPage * kPage;
  const std::string& identity = mapping.build_id.empty() ? mapping.file : mapping.build_id;
  const auto [entry, added] =
      mappings_.try_emplace({size, mapping.offset, identity}, merged_.mappings.size());
  if (added) merged_.mappings.push_back(mapping);
  place = {entry->second, merged_.mappings[entry->second].start - mapping.start};
  return *place;
}

uint32_t Merger::PlaceFunction(const pprof::Profile& source, Places& places, uint32_t index) {
  uint32_t& place = places.functions[index];
  if (place != kNew) return place;
  const pprof::Function& function = source.functions[index];
  const auto [entry, added] = functions_.try_emplace(
      {function.name, function.system_name, function.file, function.start_line},
      merged_.functions.size());
  if (added) merged_.functions.push_back(function);
  return place = entry->second;
}

uint32_t Merger::PlaceLocation(const pprof::Profile& source, Places& places, uint32_t index) {
  uint32_t& place = places.locations[index];
  if (place != kNew) return place;
  pprof::Location location = source.locations[index];
  if (location.mapping >= 0) {
    const MappingPlace mapping = PlaceMapping(source, places, location.mapping);
    location.mapping = mapping.index;
    location.address += mapping.shift;
  }
  std::vector<std::pair<uint32_t, int64_t>> lines;
  for (pprof::Line& line : location.lines) {
    line.function = PlaceFunction(source, places, line.function);
    lines.emplace_back(line.function, line.line);
  }
  const auto [entry, added] = locations_.try_emplace(
      {location.mapping, location.address, std::move(lines)}, merged_.locations.size());
  if (added) merged_.locations.push_back(std::move(location));
  return place = entry->second;
}

void Merger::Add(const pprof::Profile& source, const std::vector<size_t>& columns,
                 const std::vector<double>& scale) {
  Places places{std::vector<std::optional<MappingPlace>>(source.mappings.size()),
                std::vector<uint32_t>(source.functions.size(), kNew),
                std::vector<uint32_t>(source.locations.size(), kNew)};
  // The first mapping is the main program's and stays the first.
  if (merged_.mappings.empty() && !source.mappings.empty()) PlaceMapping(source, places, 0);
  for (const pprof::Sample& sample : source.samples) {
    const auto is_zero = [](int64_t value) { return value == 0; };
    if (std::ranges::all_of(sample.values, is_zero)) continue;
    pprof::Sample moved;
    for (const uint32_t location : sample.locations) {
      moved.locations.push_back(PlaceLocation(source, places, location));
    }
    for (size_t i = 0; i < columns.size(); ++i) {
      const int64_t value = sample.values[columns[i]];
      moved.values.push_back(scale[i] == 1 ? value
                                           : std::llround(static_cast<double>(value) * scale[i]));
    }
    moved.labels = sample.labels;
    std::vector<LabelKey> labels;
    for (const auto& label : sample.labels) {
      labels.emplace_back(label.key, label.str, label.num, label.num_unit);
    }
    std::ranges::sort(labels);
    const auto [entry, added] =
        samples_.try_emplace({moved.locations, std::move(labels)}, merged_.samples.size());
    if (added) {
      merged_.samples.push_back(std::move(moved));
      continue;
    }
    for (size_t i = 0; i < columns.size(); ++i) {
      int64_t& sum = merged_.samples[entry->second].values[i];
      // Foreign values may overflow; the sum then stays at the largest number, which MakeView
      // refuses.
      if (__builtin_add_overflow(sum, moved.values[i], &sum)) {
        sum = std::numeric_limits<int64_t>::max();
      }
    }
  }
}

}  // namespace

pprof::Profile Compact(const pprof::Profile& profile) {
  std::vector<size_t> columns(profile.sample_types.size());
  std::iota(columns.begin(), columns.end(), size_t{0});
  pprof::Profile header = profile;
  Merger merger(std::move(header));
  merger.Add(profile, columns, std::vector<double>(columns.size(), 1));
  return merger.Finish();
}

Result<pprof::Profile> Subtract(pprof::Profile profile, pprof::Profile base, bool mark_base) {
  std::vector<size_t> columns, base_columns;
  std::vector<double> scale, base_scale;
  pprof::Profile header = profile;
  header.sample_types.clear();
  for (size_t i = 0; i < profile.sample_types.size(); ++i) {
    const pprof::ValueType& type = profile.sample_types[i];
    const auto match = std::ranges::find(base.sample_types, type.type, &pprof::ValueType::type);
    if (match == base.sample_types.end()) continue;  // pprof keeps what both have.
    header.sample_types.push_back(type);
    columns.push_back(i);
    base_columns.push_back(match - base.sample_types.begin());
    scale.push_back(1);
    base_scale.push_back(match->unit == type.unit ? -1 : -Scale(1, match->unit, type.unit).value);
  }
  if (columns.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "the profile and its base share no sample type");
  }
  if (base.time_ns != 0 && (header.time_ns == 0 || base.time_ns < header.time_ns)) {
    header.time_ns = base.time_ns;
  }
  header.duration_ns += base.duration_ns;
  for (const std::string& comment : base.comments) {
    if (std::ranges::find(header.comments, comment) == header.comments.end()) {
      header.comments.push_back(comment);
    }
  }
  if (mark_base) {
    for (pprof::Sample& sample : base.samples) {
      sample.labels.push_back({std::string(kDiffBaseLabel), "true", 0, ""});
    }
  }
  Merger merger(std::move(header));
  merger.Add(profile, columns, scale);
  merger.Add(base, base_columns, base_scale);
  return merger.Finish();
}

}  // namespace hotpath::report
