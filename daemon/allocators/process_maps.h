// What /proc/PID says about a process's mappings, environment and tracer.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace hotpath {

// Which file a mapping shows: equal for equal files while the process lives.
struct MapFile {
  uint32_t device = 0;  // As the kernel keeps it: major << 20 | minor.
  uint64_t inode = 0;   // 0: no file.
  auto operator<=>(const MapFile&) const = default;
};

struct Mapping {
  uint64_t begin = 0, end = 0;
  uint64_t offset = 0;  // In the file.
  bool executable = false;
  MapFile file;
  std::string path;  // As the process sees it; may end in " (deleted)".
};

// At most `max_bytes` of a file of /proc. Errors: kNotFound when the process is gone; kPermission.
Result<std::string> ReadProcFile(const std::string& path, size_t max_bytes);

// The mappings in a text of /proc/PID/maps, in its order; lines that are none are left out.
std::vector<Mapping> ParseMaps(const std::string& text);

// A process's memory, as /proc/PID/mem shows it. Reading never stops the process.
class ProcessMemory {
 public:
  // Errors: kNotFound, kPermission.
  static Result<ProcessMemory> Open(const std::string& proc, uint32_t pid);
  // Exactly `into.size()` bytes. Errors: kNotFound where nothing is mapped, or the process is gone.
  Result<void> Read(uint64_t address, std::span<uint8_t> into) const;

 private:
  explicit ProcessMemory(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// The files in the order in which the dynamic linker looks up symbols: the program, then what is
// preloaded, then the libraries (the linker's list, r_debug). Empty for a static program and where
// the list cannot be read, as early in the life of a process. All of it is the process's own word.
std::vector<MapFile> SymbolOrder(const std::string& proc, uint32_t pid,
                                 const std::vector<Mapping>& maps);

}  // namespace hotpath
