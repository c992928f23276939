// The parameters of /debug/pprof/profile.
#include "exporters/pprof/profile_query.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

namespace hotpath::pprof {
namespace {

using std::chrono::seconds;

constexpr int64_t kDefaultSeconds = 30;
constexpr int64_t kMaxSeconds = 3600;
constexpr int kDefaultHz = 99;
constexpr int kMaxHz = 999;

template <typename Number>
std::optional<Number> ParseNumber(std::string_view text) {
  Number number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

std::unexpected<Error> Bad(std::string message) {
  return Fail(ErrorCode::kInvalidArgument, std::move(message));
}

Result<void> AddPids(std::string_view list, std::vector<uint32_t>& pids) {
  for (;;) {
    const size_t comma = list.find(',');
    const std::optional<uint32_t> pid = ParseNumber<uint32_t>(list.substr(0, comma));
    if (!pid || *pid == 0) return Bad("pid: give process ids, such as pid=12 or pid=12,34");
    if (std::ranges::find(pids, *pid) == pids.end()) pids.push_back(*pid);
    if (comma == std::string_view::npos) return {};
    list.remove_prefix(comma + 1);
  }
}

Result<void> SetOnce(std::optional<std::string>& field, const std::string& name,
                     const std::string& value) {
  if (field) return Bad(name + ": give it once");
  field = value;
  return {};
}

Result<void> AddParameter(ProfileQuery& parsed, const std::string& name, const std::string& value) {
  CaptureFilter& filter = parsed.request.filter;
  if (name == "seconds") {
    const int64_t wanted = ParseNumber<int64_t>(value).value_or(0);
    parsed.request.duration =
        seconds(wanted <= 0 ? kDefaultSeconds : std::min(wanted, kMaxSeconds));
    return {};
  }
  if (name == "debug") return {};
  if (name == "hz") {
    const std::optional<int> hz = ParseNumber<int>(value);
    if (!hz || *hz < 1 || *hz > kMaxHz) return Bad(fmt::format("hz: give 1 to {}", kMaxHz));
    parsed.request.hz = *hz;
    return {};
  }
  if (name == "from" || name == "to") return Bad(name + ": no history is kept here yet");
  if (name == "pid") return AddPids(value, filter.pids);
  if (name == "comm") return SetOnce(filter.comm, name, value);
  if (name == "exe") return SetOnce(filter.exe, name, value);
  if (name == "cgroup") return SetOnce(filter.cgroup, name, value);
  if (std::ranges::find(kLabelNames, name) != kLabelNames.end()) {
    parsed.matches.push_back({.name = name, .value = value});
    return {};
  }
  return Bad(fmt::format("{}: unknown parameter; known are seconds, hz, debug, {}", name,
                         fmt::join(kLabelNames, ", ")));
}

}  // namespace

Result<ProfileQuery> ParseProfileQuery(
    const std::vector<std::pair<std::string, std::string>>& query) {
  ProfileQuery parsed;
  parsed.request.duration = seconds(kDefaultSeconds);
  parsed.request.hz = kDefaultHz;
  for (const auto& [name, value] : query) {
    const bool known = name == "seconds" || name == "hz" || name == "debug" || name == "from" ||
                       name == "to" || std::ranges::find(kLabelNames, name) != kLabelNames.end();
    if (known && value.empty()) continue;
    if (Result<void> added = AddParameter(parsed, name, value); !added) {
      return std::unexpected(added.error());
    }
  }
  return parsed;
}

}  // namespace hotpath::pprof
