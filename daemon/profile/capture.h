// A request for a profile of the next N seconds, and what answers it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/profile/window.h"

namespace hotpath {

// Which samples a capture keeps: all conditions that are set must hold.
struct CaptureFilter {
  std::vector<uint32_t> pids;  // Empty: every process.
  bool descendants = false;    // Also the processes that those in `pids` start.
  // Regular expression, searched in the names of the thread and of the process.
  std::optional<std::string> comm;
  std::optional<std::string> exe;     // Path of the executable, exact or ending in "/NAME".
  std::optional<std::string> cgroup;  // Path of the cgroup; its descendants count.
  bool empty() const { return pids.empty() && !comm && !exe && !cgroup; }
};

struct CaptureRequest {
  std::string type = "cpu";
  std::chrono::nanoseconds duration{std::chrono::seconds{30}};
  int hz = 99;  // 1 to 999.
  CaptureFilter filter;
  std::function<void()> on_started;  // Called once sampling runs; may be empty.
};

// Takes profiles; implemented by Pipeline. Thread-safe.
class CaptureSource {
 public:
  virtual ~CaptureSource() = default;

  // Blocks for the request's duration, or until *cancelled, which ends it early; what was gathered
  // by then is returned. Frees its sampling session before it returns.
  // Errors: kInvalidArgument (unknown type, bad filter), kBusy (too many captures or rates),
  // kUnavailable (sampling stopped).
  virtual Result<std::unique_ptr<Window>> Capture(const CaptureRequest& request,
                                                  const std::atomic<bool>& cancelled) = 0;
};

}  // namespace hotpath
