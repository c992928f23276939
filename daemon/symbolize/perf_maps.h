// The perf maps of the processes on this machine, found, checked and kept.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/profile/sample.h"
#include "daemon/symbolize/perf_map.h"

namespace hotpath {

// Reads /proc/PID/root/tmp/perf-NSPID.map, as the process's own namespaces see it. The file must be
// a regular one, on no FUSE mount, of the process's user or root; of a long one the end is read.
// What was read last is kept after the process is gone, within a bound for all. Thread-safe.
class PerfMaps {
 public:
  struct Options {
    std::string proc = "/proc";
    size_t max_file_bytes = size_t{16} << 20;
    size_t max_kept_bytes = size_t{16} << 20;  // Of all maps; the one asked last is always kept.
    size_t max_processes = 256;
    std::chrono::milliseconds reread_interval{1000};
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  };
  PerfMaps();
  explicit PerfMaps(Options options);

  // The map of `process`, read again when it has changed; nullptr when it has none. A pid whose
  // start time is another one's is not read.
  std::shared_ptr<const PerfMap> Get(const ProcessKey& process);
  // For each address what its mapping is: "[stack]", "[heap]", else "[anon]", also when the process
  // is gone. `addresses` in any order.
  std::vector<std::string> MappingKinds(const ProcessKey& process,
                                        const std::vector<uint64_t>& addresses) const;
  size_t kept_bytes() const;
  void Clear();  // What is still there is read again when asked for.

 private:
  struct Kept {
    ProcessKey process;
    std::shared_ptr<const PerfMap> map;  // nullptr: it had none.
    int64_t modified_ns = 0;
    uint64_t file_bytes = 0;
    std::chrono::steady_clock::time_point checked_at;
  };
  bool IsAlive(const ProcessKey& process) const;
  // Reads the file again where it has changed since `kept`; leaves `kept` where it cannot be read.
  void Refresh(Kept* kept) const;
  void Evict();  // With mutex_ held.

  const Options options_;
  mutable std::mutex mutex_;
  std::list<Kept> kept_;  // Asked last first.
};

}  // namespace hotpath
