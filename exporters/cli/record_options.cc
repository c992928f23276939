// Checks `hotpath record`'s flags against the host before anything is started.
#include "exporters/cli/record_options.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "daemon/profile/profile_type.h"

namespace hotpath::cli {
namespace {

constexpr double kLongestSeconds = 24 * 3600;
constexpr std::chrono::seconds kDefaultDuration{10};

std::optional<double> UnitSeconds(std::string_view unit) {
  if (unit.empty() || unit == "s") return 1;
  if (unit == "ms") return 1e-3;
  if (unit == "m" || unit == "min") return 60;
  if (unit == "h") return 3600;
  return std::nullopt;
}

bool IsRegex(const std::string& text) { return RE2(text, RE2::Quiet).ok(); }

}  // namespace

std::optional<std::chrono::nanoseconds> ParseDuration(const std::string& text) {
  if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  const auto unit = UnitSeconds(end);
  if (!unit) return std::nullopt;
  const double seconds = number * *unit;
  if (!(seconds > 0) || seconds > kLongestSeconds) return std::nullopt;
  return std::chrono::nanoseconds(std::llround(seconds * 1e9));
}

Result<RecordOptions> CheckRecordOptions(RecordOptions options, const std::string& proc_root,
                                         bool stdout_is_terminal) {
  const bool targeted = !options.pids.empty() || options.comm || options.exe || options.cgroup;
  if (targeted && !options.command.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "record profiles either a command or -p, --comm, --exe, --cgroup, not both");
  }
  if (const auto type = FindProfileType(options.type, 1); !type) {
    return Fail(ErrorCode::kInvalidArgument, type.error().message);
  }
  if (options.comm && !IsRegex(*options.comm)) {
    return Fail(ErrorCode::kInvalidArgument,
                "--comm '" + *options.comm + "' is no regular expression");
  }
  for (const uint32_t pid : options.pids) {
    std::error_code error;
    if (!std::filesystem::exists(fmt::format("{}/{}", proc_root, pid), error)) {
      return Fail(ErrorCode::kNotFound,
                  fmt::format("no process {}: 'pgrep -a NAME' finds the pid of a program", pid));
    }
  }
  if (options.output.empty()) options.output = "hotpath." + options.type + ".pb.gz";
  if (options.output == "-" && stdout_is_terminal) {
    return Fail(ErrorCode::kInvalidArgument,
                "a profile is binary: send -o - into a file or a pipe, or name a file");
  }
  if (options.command.empty() && !options.duration) options.duration = kDefaultDuration;
  return options;
}

}  // namespace hotpath::cli
