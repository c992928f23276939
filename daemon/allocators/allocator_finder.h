// The allocators of a running process, and whether its memory is what was decoded.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/allocators/process_maps.h"
#include "daemon/base/result.h"
#include "daemon/files/file_worker.h"
#include "daemon/placement/placement.h"

namespace hotpath {

// One file of a process that holds an allocator's functions.
struct ProcessAllocator {
  Placement placement;
  MapFile file;
  std::string path;  // As the process sees it.
  // The process's own calls go here: the first file in the order of symbols that exports malloc, or
  // one that keeps its malloc to itself (a static program, a library with prefixed names).
  bool live = false;
  std::string why;  // Of what is not live.
};

// Asks /proc and the boxed child. Keeps what it learned about files by device, inode and times, so
// that the next process with the same libc costs a millisecond. Not thread-safe.
class AllocatorFinder {
 public:
  // `files` is borrowed and must outlive it. `proc`: where procfs is mounted.
  explicit AllocatorFinder(FileWorker& files, std::string proc = "/proc");

  // The live ones first. Errors, all before any file is read: kNotFound for no such process, or one
  // without an allocator; kPermission; kUnsupported, and why, for who must not be probed: a traced
  // process, this one, 32-bit code, code in huge pages, HOTPATH_NO_ALLOC=1 in the environment.
  Result<std::vector<ProcessAllocator>> Find(uint32_t pid);

  // Compares what was decoded of `function` with every executable mapping of `allocator`'s file in
  // the process, as it is now. A probe may be attached only after that.
  // Errors: kNotFound when the file is mapped no more, or the function is refused; kMalformed where
  // a byte differs, naming its address: a hot patch, a debugger's or another tracer's breakpoint.
  Result<void> VerifyMapped(uint32_t pid, const ProcessAllocator& allocator,
                            const ProbedFunction& function) const;

 private:
  static constexpr size_t kMaxKept = 1'024;
  struct FileStamp {
    uint64_t device, inode, bytes;
    int64_t changed_s, changed_ns;
    auto operator<=>(const FileStamp&) const = default;
  };

  Result<void> CheckProcess(uint32_t pid) const;
  Result<Placement> PlacementOf(uint32_t pid, const Mapping& mapping);

  FileWorker& files_;
  const std::string proc_;
  std::map<FileStamp, Placement> kept_;  // At most kMaxKept; emptied when full.
};

}  // namespace hotpath
