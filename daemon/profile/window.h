// Samples of one stretch of time, aggregated: the unit of storage, export and merge.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/profile/profile_type.h"
#include "daemon/profile/sample.h"
#include "daemon/profile/stack_table.h"

namespace hotpath {

// Who a row of a window belongs to. Rows differ in at least one of these or in their stack.
struct SampleOwner {
  ProcessKey process;
  uint32_t tid = 0;
  uint64_t cgroup_id = 0;
  std::string comm;          // The thread's name.
  std::string process_name;  // The main thread's name.
  friend auto operator<=>(const SampleOwner&, const SampleOwner&) = default;
};

struct WindowRow {
  uint32_t owner = 0;  // Index into Window::owners.
  StackId stack;
  WalkEnd walk_end = WalkEnd::kComplete;
  FileId failed_file;           // See Sample.
  std::vector<int64_t> values;  // One for each of the type's sample_types.
  uint64_t samples = 0;         // How many they are the sum of.
};

// What some samples amount to.
struct SampleSum {
  uint64_t samples = 0;
  uint64_t value = 0;  // This and bytes as in Sample.
  uint64_t bytes = 0;

  SampleSum& operator+=(const SampleSum& other);
  SampleSum operator-(const SampleSum& other) const;
  int64_t Of(Measure measure) const;
  friend bool operator==(const SampleSum&, const SampleSum&) = default;
};

// What user space learnt of a process while it lived.
struct ProcessFacts {
  std::string exe;     // Path as the process sees it; empty when it was gone too soon.
  std::string cgroup;  // Path in the cgroup2 tree ("/system.slice/redis.service"); may be empty.
  uint32_t uid = 0;
  std::string user;  // Name of uid, where known.
};

// Immutable once closed, so that any thread may read it. Raw frames, not names.
struct Window {
  ProfileType type;
  int64_t start_unix_ns = 0;
  int64_t duration_ns = 0;
  int hz = 0;
  std::vector<std::string> comments;  // Of this capture: "duty=0.005 windows=31".
  std::vector<SampleOwner> owners;
  std::vector<WindowRow> rows;
  StackTable stacks;
  std::map<ProcessKey, ProcessFacts> processes;
  std::array<SampleSum, kLosses> lost{};  // While the window was open.
  bool filtered = false;  // Only some processes: host-wide losses are then no rows of it.
  std::shared_ptr<const void> files;  // While it is held, its files' names can be found.
  double cpu_seconds_kernel = -1;     // The kernel's own account over the interval; -1 unknown.
};

// A sample whose weight is known only when the window is over, and the row that it is in.
struct UnweighedSample {
  uint32_t row = 0;  // Index into Window::rows.
  uint32_t pid = 0;
  uint32_t tid = 0;
  uint64_t time_ns = 0;
  uint64_t bytes = 0;
};

// Builds one window from samples. One thread; Close() hands the result over.
class WindowBuilder {
 public:
  explicit WindowBuilder(ProfileType type) : window_(std::make_unique<Window>()) {
    window_->type = std::move(type);
  }
  // Adds what each of the type's measures says. Returns the row's index.
  uint32_t Add(const Sample& sample);
  // The same for a stack that the window has already; counts another one as lost, so that the
  // window hardly grows.
  std::optional<uint32_t> AddKnown(const Sample& sample, Loss loss);
  Window& window() { return *window_; }
  size_t rows() const { return window_->rows.size(); }
  std::unique_ptr<Window> Close() { return std::move(window_); }

 private:
  std::unique_ptr<Window> window_;
  std::map<SampleOwner, uint32_t> owner_index_;
  std::map<std::tuple<uint32_t, uint32_t, WalkEnd>, uint32_t> row_index_;
};

}  // namespace hotpath
