// Find, choose, verify, open.
#include "daemon/allocations/find_target.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "daemon/allocations/choose_sites.h"

namespace hotpath {
namespace {

constexpr size_t kMaxMapsBytes = size_t{16} << 20;

// Through the mapping, so that it is the very file whatever its path says now.
Result<Fd> OpenMapped(uint32_t pid, const MapFile& file) {
  const Result<std::string> text = ReadProcFile(fmt::format("/proc/{}/maps", pid), kMaxMapsBytes);
  if (!text) return std::unexpected(text.error());
  for (const Mapping& mapping : ParseMaps(*text)) {
    if (mapping.file != file || !mapping.executable) continue;
    const std::string path =
        fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, mapping.begin, mapping.end);
    Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd) return fd;
    return FailErrno("open " + path);
  }
  return Fail(ErrorCode::kNotFound, fmt::format("process {}: its allocator is gone", pid));
}

}  // namespace

Result<FoundTarget> FindAllocTarget(AllocatorFinder& finder, uint32_t pid) {
  const Result<std::vector<ProcessAllocator>> found = finder.Find(pid);
  if (!found) return std::unexpected(found.error());
  for (const ProcessAllocator& allocator : *found) {
    if (!allocator.live) continue;
    const ChosenSites chosen = ChooseAllocSites(allocator.placement);
    if (chosen.sites.empty()) continue;
    for (const ProbedFunction* function : chosen.functions) {
      if (Result<void> same = finder.VerifyMapped(pid, allocator, *function); !same) {
        return std::unexpected(same.error());
      }
    }
    Result<Fd> file = OpenMapped(pid, allocator.file);
    if (!file) return std::unexpected(file.error());
    FoundTarget target;
    target.target = {.pid = pid, .file_fd = file->get(), .sites = chosen.sites};
    target.file = std::move(*file);
    target.allocator = allocator.placement.allocator;
    target.path = allocator.path;
    return target;
  }
  return Fail(ErrorCode::kNotFound,
              fmt::format("process {}: no place to probe its allocator: `hotpath probes -p {}` "
                          "says why",
                          pid, pid));
}

}  // namespace hotpath
