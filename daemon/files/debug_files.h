// Finds the debug files that belong to a binary: by build ID, by .gnu_debuglink, and dwz's shared
// one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "daemon/base/fd.h"
#include "daemon/files/file_registry.h"
#include "daemon/files/file_worker.h"

namespace hotpath {

// Where to look and how to check. Paths are tried in order of trust: build ID first.
//
//   ROOT/.build-id/ab/cdef.debug       believed when its build ID is that of the binary
//   DIR/NAME, DIR/.debug/NAME, ROOT/DIR/NAME    NAME from .gnu_debuglink; believed when its build
//   ID
//                                      is the binary's or, where either has none, its CRC-32
//                                      matches
//   .gnu_debugaltlink                  absolute, or relative to the file that names it;
//   ROOT/.build-id
//
// Files are opened without following FIFOs or devices, and read through the sandboxed worker alone,
// except for the CRC, which is of bytes.
class DebugFileFinder {
 public:
  struct Options {
    std::vector<std::string> debug_roots = {"/usr/lib/debug"};
    // Put before every path: "" for the host, "/proc/PID/root" for a container. Tried in order.
    std::vector<std::string> prefixes = {""};
    uint64_t max_file_bytes = uint64_t{8} << 30;
  };
  // What a file says of itself; FileWorker::Describe.
  using Describe = std::function<Result<FileIndex>(int fd)>;

  DebugFileFinder();
  explicit DebugFileFinder(Options options);

  // The debug file of the binary at `path` (as the prefixes see it), and what its, or the binary's,
  // .gnu_debugaltlink names. Either may be missing.
  DebugFiles Find(const FileIndex& binary, const std::string& path, const Describe& describe) const;

 private:
  struct Found {
    Fd fd;
    std::string path;  // With its prefix.
    FileIndex facts;
  };
  Found FindByBuildId(const std::string& build_id, const std::string& suffix,
                      const Describe& describe) const;
  Found FindByLink(const FileIndex& binary, const std::string& path,
                   const Describe& describe) const;
  Found FindAlternate(const FileIndex& facts, const std::string& path,
                      const Describe& describe) const;
  Fd Open(const std::string& path) const;

  const Options options_;
};

// The CRC-32 of .gnu_debuglink over the whole file. Errors: kSystem.
Result<uint32_t> FileCrc32(int fd);

}  // namespace hotpath
