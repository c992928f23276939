// From a cgroup's id, which samples carry, to its path.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "daemon/base/fd.h"

namespace hotpath {

// The id is the inode number of the cgroup2 directory. With CAP_DAC_READ_SEARCH the kernel opens a
// directory by that number; without it the tree is walked, at most once in kWalkEvery, and only for
// an id that is new. Paths of cgroups that are gone stay known while there is room. Thread-safe.
class CgroupPaths {
 public:
  struct Options {
    std::string proc = "/proc";        // PROC/self/mounts tells where cgroup2 is mounted.
    std::optional<std::string> mount;  // Instead of looking there.
    size_t max_paths = 16'384;
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  };
  static constexpr std::chrono::seconds kWalkEvery{10};
  static constexpr size_t kMaxDirectories = 65'536;  // Visited in one walk.

  explicit CgroupPaths(Options options);

  // "/system.slice/redis.service"; "/" for the root; nullopt when unknown.
  std::optional<std::string> Find(uint64_t cgroup_id);
  const std::string& mount() const { return mount_; }  // Empty: there is no cgroup2 here.

 private:
  std::optional<std::string> OpenById(uint64_t cgroup_id) const;
  void Walk();
  void Remember(uint64_t cgroup_id, std::string path);

  const Options options_;
  std::string mount_;
  Fd mount_fd_;
  bool by_handle_ = false;  // The mount is a real cgroup2.
  std::mutex mutex_;        // Guards what follows.
  std::unordered_map<uint64_t, std::string> paths_;
  std::optional<std::chrono::steady_clock::time_point> last_walk_;
};

}  // namespace hotpath
