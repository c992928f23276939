// A profile made ready for a report: one value chosen, filtered, merged to the wanted granularity.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "exporters/pprof/profile.h"

namespace hotpath::report {

enum class Granularity : uint8_t { kFunction, kLine, kFile, kAddress };

// "function", "line", "file", "address"; nullopt for any other word.
std::optional<Granularity> GranularityFromName(std::string_view name);

// What to keep of a profile; regular expressions are RE2's, searched, not anchored.
struct ViewOptions {
  std::string sample_type;  // Name or index; empty: the profile's default, else its last.
  Granularity by = Granularity::kFunction;
  std::string focus, ignore;            // Samples with a frame, file or mapping that matches.
  std::string hide, show;               // Frames.
  std::vector<std::string> tag_focus;   // "K=V" or "V"; a sample must match all of them.
  std::vector<std::string> tag_ignore;  // A sample that matches one is dropped.
  std::vector<std::string> tag_root;    // Label keys; the first becomes the outermost frame.
};

// Owns its profile. `total` is the sum of |value| before focus and ignore, as pprof's percentages
// are of the whole; of the base alone when the profile is a difference.
struct View {
  pprof::Profile profile;
  size_t value_index = 0;
  std::string type;  // Of the chosen value: "cpu".
  std::string unit;  // "nanoseconds".
  int64_t total = 0;
  std::map<std::string, std::string> label_units;  // Numeric label key -> unit.
  std::vector<std::string> active_filters;         // "focus=main", for the header.
  std::vector<std::string> remarks;                // "focus matched no samples".

  int64_t Value(const pprof::Sample& sample) const { return sample.values[value_index]; }
};

// Label that marks the samples of a --diff-base profile.
inline constexpr std::string_view kDiffBaseLabel = "pprof::base";

// Errors: kInvalidArgument (no sample type of that name, a regular expression that does not parse,
// a profile without values), naming the option; kMalformed when values add up past 2^58.
Result<View> MakeView(pprof::Profile profile, const ViewOptions& options);

// Index of the value that `name` (or a number, or nothing) selects.
Result<size_t> SampleTypeIndex(const pprof::Profile& profile, std::string_view name);

// `profile` with equal samples added up, those of value 0 left out, and its parts numbered in the
// order of use: what pprof makes of every profile it reads.
pprof::Profile Compact(const pprof::Profile& profile);

// `profile` minus `base`; with `mark_base`, the base's samples keep a label so that percentages are
// of the base (--diff-base).
// Errors: kInvalidArgument when the two share no sample type.
Result<pprof::Profile> Subtract(pprof::Profile profile, pprof::Profile base, bool mark_base);

// "cpu", "heap", "offcpu": what a profile's types say it is.
std::string ProfileTypeName(const pprof::Profile& profile);

// How many events the profile counts: the sum of its count type, else its rows.
int64_t EventCount(const pprof::Profile& profile);

// Index of the type that counts events ("samples", "contentions"): the first in unit count.
std::optional<size_t> CountTypeIndex(const pprof::Profile& profile);

}  // namespace hotpath::report
