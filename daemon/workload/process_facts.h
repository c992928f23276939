// What a process is: its program, cgroup and user, read from /proc while it lives.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "daemon/base/fd.h"
#include "daemon/profile/sample.h"
#include "daemon/profile/window.h"

namespace hotpath {

// Names of users, by our own reading of /etc/passwd: NSS would run foreign code in the daemon, and
// may ask the network. Read again when the file has changed. Not thread-safe.
class UserNames {
 public:
  explicit UserNames(std::string path) : path_(std::move(path)) {}
  // Empty when the file does not name `uid`.
  std::string Find(uint32_t uid);

 private:
  static constexpr size_t kMaxBytes = 4 << 20;  // Read of the file.
  const std::string path_;
  uint64_t inode_ = 0;
  int64_t changed_ns_ = -1;  // -1: not read yet.
  std::unordered_map<uint32_t, std::string> names_;
};

// Facts by (pid, start time), so that a reused pid never lends its name to the dead. The least
// recently asked are forgotten. Thread-safe. About 60 us for a process that is new.
class ProcessTable {
 public:
  struct Options {
    std::string proc = "/proc";
    std::string passwd = "/etc/passwd";
    size_t max_processes = 16'384;
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  };
  // A start time in /proc is in ticks of 10 ms: equal within two.
  static constexpr uint64_t kStartTolerance_ns = 20'000'000;
  // Facts older than that are read again, as a process may exec or change its cgroup...
  static constexpr std::chrono::seconds kRefreshAfter{60};
  // ...and already after this, when its main thread has another name, as after exec.
  static constexpr std::chrono::seconds kRefreshRenamedAfter{1};

  explicit ProcessTable(Options options);

  // nullopt when the process was gone before anybody asked. `name`: of its main thread, as the
  // sample has it; empty when unknown.
  std::optional<ProcessFacts> Find(const ProcessKey& key, std::string_view name = {});

 private:
  struct Entry {
    ProcessKey key;
    std::optional<ProcessFacts> facts;
    std::string name;
    std::chrono::steady_clock::time_point read_at;
  };
  using Entries = std::list<Entry>;

  std::optional<ProcessFacts> Read(const ProcessKey& key);

  const Options options_;
  const long ticks_per_second_;
  std::mutex mutex_;  // Guards what follows.
  UserNames users_;
  Entries entries_;  // Most recently asked first.
  std::map<ProcessKey, Entries::iterator> index_;
};

// The cgroup of a /proc/PID/cgroup text: the `0::` line; on a hybrid host, where that says "/", the
// line of systemd's own hierarchy, else of the memory controller. Empty when there is none.
std::string CgroupFromText(std::string_view text);

}  // namespace hotpath
