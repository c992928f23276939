// Conditions on labels: "service_name=web.*", "bytes=1kb:64kb", "pid=150:".
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "exporters/pprof/profile.h"

namespace re2 {
class RE2;
}

namespace hotpath::report {

// One condition, as pprof's tagfocus reads it:
//   KEY=RE1,RE2   a string label KEY whose value matches one of them
//   RE1,RE2       every expression matches some "key:value"
//   [KEY=]N[unit], N:, :M, N:M    a numeric label in the range, ends included
class TagFilter {
 public:
  // Errors: kInvalidArgument, with the regular expression's own message.
  static Result<TagFilter> Parse(const std::string& text);

  // `units` is the unit of each numeric label (View::label_units).
  bool Matches(const pprof::Sample& sample, const std::map<std::string, std::string>& units) const;

 private:
  struct Range {
    bool has_low = false, has_high = false;
    double low = 0, high = 0;  // In `unit`.
    std::string unit;          // Empty: the bare number.
    bool Holds(int64_t value, const std::string& value_unit) const;
  };
  bool ParseRange(std::string_view text);

  std::string key_;  // Empty: any label.
  bool is_range_ = false;
  Range range_;
  std::vector<std::shared_ptr<const re2::RE2>> expressions_;  // Never empty unless is_range_.
};

// Adds a frame for each key at the root of every stack; a sample without the label gets an empty
// name there, as in pprof. True when some sample had one of the labels.
bool AddTagRoots(pprof::Profile& profile, const std::vector<std::string>& keys);

// The unit of each numeric label: the first one named in the samples, else pprof's guess (the key).
std::map<std::string, std::string> LabelUnits(const pprof::Profile& profile);

}  // namespace hotpath::report
