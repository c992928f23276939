// Chooses the value, filters, and forgets what the granularity does not show.
#include "exporters/report/view.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "exporters/report/frame_filter.h"
#include "exporters/report/tag_filter.h"

namespace hotpath::report {
namespace {

std::string TypeNames(const pprof::Profile& profile) {
  std::string names;
  for (const auto& type : profile.sample_types) {
    names += (names.empty() ? "" : ", ") + type.type;
  }
  return names;
}

bool IsDiffBase(const pprof::Sample& sample) {
  return std::ranges::any_of(sample.labels,
                             [](const auto& label) { return label.key == kDiffBaseLabel; });
}

// Every sum of a report is at most this many; foreign values past it would overflow.
constexpr int64_t kLargestTotal = int64_t{1} << 58;

Result<int64_t> Total(const pprof::Profile& profile, size_t value_index) {
  int64_t total = 0, base_total = 0;
  for (const pprof::Sample& sample : profile.samples) {
    for (const int64_t value : sample.values) {
      if (value > kLargestTotal || value < -kLargestTotal) {
        return Fail(ErrorCode::kMalformed, "a value of the profile is past 2^58");
      }
    }
    const int64_t value = std::abs(sample.values[value_index]);
    total += value;
    if (total > kLargestTotal) {
      return Fail(ErrorCode::kMalformed, "the values of the profile add up past 2^58");
    }
    if (IsDiffBase(sample)) base_total += value;
  }
  return base_total > 0 ? base_total : total;
}

// Keeps of each frame what the granularity tells apart, so that equal frames become one node.
void Aggregate(pprof::Profile& profile, Granularity by) {
  if (by == Granularity::kAddress) return;
  for (pprof::Function& function : profile.functions) {
    if (by == Granularity::kFile) function.name = function.system_name = "";
    if (by == Granularity::kFunction) function.file = "";
  }
  for (pprof::Location& location : profile.locations) {
    location.address = 0;
    if (by == Granularity::kLine) continue;
    for (pprof::Line& line : location.lines) line.line = 0;
  }
}

Result<std::vector<TagFilter>> ParseTags(const char* option,
                                         const std::vector<std::string>& texts) {
  std::vector<TagFilter> filters;
  for (const std::string& text : texts) {
    auto filter = TagFilter::Parse(text);
    if (!filter) {
      return Fail(filter.error().code, std::string("--") + option + ": " + filter.error().message);
    }
    filters.push_back(std::move(*filter));
  }
  return filters;
}

Result<void> FilterTags(View& view, const ViewOptions& options) {
  auto focus = ParseTags("tagfocus", options.tag_focus);
  if (!focus) return std::unexpected(focus.error());
  auto ignore = ParseTags("tagignore", options.tag_ignore);
  if (!ignore) return std::unexpected(ignore.error());
  if (focus->empty() && ignore->empty()) return {};

  bool ignored_any = false;
  std::erase_if(view.profile.samples, [&](const pprof::Sample& sample) {
    const auto matches = [&](const TagFilter& filter) {
      return filter.Matches(sample, view.label_units);
    };
    const bool ignored = std::ranges::any_of(*ignore, matches);
    ignored_any = ignored_any || ignored;
    return ignored || !std::ranges::all_of(*focus, matches);
  });
  if (!focus->empty() && view.profile.samples.empty()) {
    view.remarks.emplace_back("--tagfocus matched no samples");
  }
  if (!ignore->empty() && !ignored_any) {
    view.remarks.emplace_back("--tagignore matched no samples");
  }
  return {};
}

void DescribeFilters(View& view, const ViewOptions& options) {
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) view.active_filters.push_back(std::string(name) + "=" + value);
  };
  add("focus", options.focus);
  add("ignore", options.ignore);
  add("hide", options.hide);
  add("show", options.show);
  for (const std::string& tag : options.tag_focus) add("tagfocus", tag);
  for (const std::string& tag : options.tag_ignore) add("tagignore", tag);
}

}  // namespace

std::optional<Granularity> GranularityFromName(std::string_view name) {
  if (name == "function") return Granularity::kFunction;
  if (name == "line") return Granularity::kLine;
  if (name == "file") return Granularity::kFile;
  if (name == "address") return Granularity::kAddress;
  return std::nullopt;
}

Result<size_t> SampleTypeIndex(const pprof::Profile& profile, std::string_view name) {
  const auto& types = profile.sample_types;
  if (types.empty()) return Fail(ErrorCode::kInvalidArgument, "the profile has no sample types");
  const auto find = [&](std::string_view wanted) {
    return std::ranges::find(types, wanted, &pprof::ValueType::type) - types.begin();
  };
  if (name.empty()) {
    const auto chosen = static_cast<size_t>(find(profile.default_sample_type));
    return chosen < types.size() ? chosen : types.size() - 1;
  }
  size_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error == std::errc() && end == name.data() + name.size() && number < types.size()) {
    return number;
  }
  for (const std::string_view wanted :
       {name, name.starts_with("inuse_") ? name.substr(6) : name}) {  // pprof's old names.
    if (const auto found = static_cast<size_t>(find(wanted)); found < types.size()) return found;
  }
  return Fail(ErrorCode::kInvalidArgument, "--sample-type '" + std::string(name) +
                                               "' is not in this profile, which has " +
                                               TypeNames(profile));
}

Result<View> MakeView(pprof::Profile profile, const ViewOptions& options) {
  const auto index = SampleTypeIndex(profile, options.sample_type);
  if (!index) return std::unexpected(index.error());
  View view;
  view.profile = std::move(profile);
  view.value_index = *index;
  view.type = view.profile.sample_types[*index].type;
  view.unit = view.profile.sample_types[*index].unit;
  view.label_units = LabelUnits(view.profile);
  const auto total = Total(view.profile, *index);
  if (!total) return std::unexpected(total.error());
  view.total = *total;
  for (pprof::Sample& sample : view.profile.samples) {
    std::erase_if(sample.labels, [](const auto& label) { return label.key == kDiffBaseLabel; });
  }
  if (!options.tag_root.empty() && !AddTagRoots(view.profile, options.tag_root)) {
    view.remarks.emplace_back("--tagroot matched no samples");
  }
  auto frames = FilterFrames(
      view.profile, {options.focus, options.ignore, options.hide, options.show}, view.remarks);
  if (!frames) return std::unexpected(frames.error());
  if (auto tags = FilterTags(view, options); !tags) return std::unexpected(tags.error());
  DescribeFilters(view, options);
  Aggregate(view.profile, options.by);
  return view;
}

std::string ProfileTypeName(const pprof::Profile& profile) {
  const auto has = [&](std::string_view type) {
    return std::ranges::find(profile.sample_types, type, &pprof::ValueType::type) !=
           profile.sample_types.end();
  };
  if (has("inuse_space")) return profile.default_sample_type == "alloc_space" ? "allocs" : "heap";
  if (has("off_cpu")) return "offcpu";
  if (has("contentions")) return "mutex";
  if (has("cpu")) return "cpu";
  if (has("alloc_space")) return "allocs";
  if (has("growth_space")) return "memory_growth";
  return profile.sample_types.empty() ? "" : profile.sample_types.back().type;
}

std::optional<size_t> CountTypeIndex(const pprof::Profile& profile) {
  for (size_t i = 0; i < profile.sample_types.size(); ++i) {
    if (profile.sample_types[i].unit == "count") return i;
  }
  return std::nullopt;
}

int64_t EventCount(const pprof::Profile& profile) {
  const auto index = CountTypeIndex(profile);
  if (!index) return static_cast<int64_t>(profile.samples.size());
  uint64_t count = 0;  // Unsigned: foreign values may wrap, which is defined.
  for (const pprof::Sample& sample : profile.samples) {
    count += static_cast<uint64_t>(sample.values[*index]);
  }
  return static_cast<int64_t>(count);
}

}  // namespace hotpath::report
