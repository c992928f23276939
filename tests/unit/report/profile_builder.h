// Builds small profiles whose every number is visible in the test.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "exporters/pprof/profile.h"

namespace hotpath::report {

// A CPU profile: samples/count and cpu/nanoseconds, 10 ms a sample, 10 s long.
class ProfileBuilder {
 public:
  ProfileBuilder() {
    profile_.sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}};
    profile_.period_type = {"cpu", "nanoseconds"};
    profile_.period = 10'000'000;
    profile_.time_ns = 1'700'000'000'000'000'000;
    profile_.duration_ns = 10'000'000'000;
    profile_.mappings.push_back({0, 0, 0, "/usr/bin/app", "aa11", true, true, true, true});
  }

  // `frames` leaf first. "a<b" is one address: a inlined into b. "[kernel]x" is a kernel frame.
  ProfileBuilder& Add(std::vector<std::string> frames, int64_t count,
                      std::vector<pprof::Label> labels = {}) {
    pprof::Sample sample;
    for (const std::string& frame : frames) sample.locations.push_back(Location(frame));
    sample.values = {count, count * profile_.period};
    sample.labels = std::move(labels);
    profile_.samples.push_back(std::move(sample));
    return *this;
  }
  ProfileBuilder& Comment(std::string text) {
    profile_.comments.push_back(std::move(text));
    return *this;
  }
  pprof::Profile& profile() { return profile_; }
  pprof::Profile Build() const { return profile_; }

 private:
  uint32_t Function(const std::string& name) {
    const auto [entry, added] = functions_.try_emplace(name, profile_.functions.size());
    if (added) profile_.functions.push_back({name, name, "/src/" + name + ".c", 3});
    return entry->second;
  }
  uint32_t Location(std::string frame) {
    const auto [entry, added] = locations_.try_emplace(frame, profile_.locations.size());
    if (!added) return entry->second;
    pprof::Location location{0, 0x1000 * (profile_.locations.size() + 1), {}};
    constexpr std::string_view kKernel = "[kernel]";
    if (frame.starts_with(kKernel)) {
      frame.erase(0, kKernel.size());
      location.mapping = 1;
      if (profile_.mappings.size() < 2) {
        profile_.mappings.push_back({0, 0, 0, "[kernel.kallsyms]", "", true, false, false, false});
      }
    }
    for (size_t at = 0; at <= frame.size();) {
      const size_t end = std::min(frame.find('<', at), frame.size());
      location.lines.push_back({Function(frame.substr(at, end - at)), 7});
      at = end + 1;
    }
    profile_.locations.push_back(std::move(location));
    return entry->second;
  }

  pprof::Profile profile_;
  std::map<std::string, uint32_t> functions_, locations_;
};

inline pprof::Label Text(std::string key, std::string value) {
  return {std::move(key), std::move(value), 0, ""};
}
inline pprof::Label Number(std::string key, int64_t value, std::string unit = "") {
  return {std::move(key), "", value, std::move(unit)};
}

}  // namespace hotpath::report
