// What `hotpath record` was asked to do, checked.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"

namespace hotpath::cli {

enum class AllocMode : uint8_t { kSampled, kExact };

struct RecordOptions {
  std::string type = "cpu";
  std::vector<uint32_t> pids;         // All targets empty: the whole machine.
  std::optional<std::string> comm;    // Regular expression.
  std::optional<std::string> exe;     // Path.
  std::optional<std::string> cgroup;  // Path.
  // Unset: until the command ends. Always set without a command.
  std::optional<std::chrono::nanoseconds> duration;
  int hz = 99;         // 1 to 999.
  std::string output;  // "-": stdout, which is then no terminal. Never empty.
  AllocMode alloc = AllocMode::kSampled;
  bool quiet = false;
  uint32_t max_files = 0;            // That have a number at one time; 0: all there are. For tests.
  uint64_t ring_bytes = 0;           // Of the sample buffer; 0: by the number of CPUs. For tests.
  std::vector<std::string> command;  // argv; empty: nothing is started.
};

// "10s", "500ms", "2m", "1h", "1.5s", "10" (seconds). Nullopt for other text, 0 and past 24 h.
std::optional<std::chrono::nanoseconds> ParseDuration(const std::string& text);

// Fills in defaults (duration, output) and refuses what cannot work.
// `proc_root`: "/proc", or a test's. `stdout_is_terminal`: then "-" is refused.
// Errors: kInvalidArgument (wrong usage: a bad expression, a target with a command, "-" on a
// terminal), kNotFound (a pid that does not exist).
Result<RecordOptions> CheckRecordOptions(RecordOptions options, const std::string& proc_root,
                                         bool stdout_is_terminal);

}  // namespace hotpath::cli
