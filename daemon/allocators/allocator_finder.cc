// From /proc/PID/maps to placements, and the order in which symbols are found.
#include "daemon/allocators/allocator_finder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "daemon/files/file_identity.h"

namespace hotpath {
namespace {

constexpr size_t kMaxMapsBytes = 16 << 20;
constexpr size_t kMaxStatusBytes = 64 << 10;
constexpr size_t kMaxEnvironmentBytes = 2 << 20;
constexpr size_t kMaxFiles = 512;
constexpr uint64_t kSecond_ns = 1'000'000'000;

// The number behind "name:" in a text of lines; 0 where there is no such line.
uint64_t FieldOf(const std::string& text, const std::string& name) {
  size_t at = text.find("\n" + name + ":");
  if (at == std::string::npos) return 0;
  at = text.find_first_of("0123456789", at + name.size() + 2);
  uint64_t value = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    value = value * 10 + static_cast<uint64_t>(text[at] - '0');
  }
  return value;
}

bool OptsOut(const std::string& environment) {
  using namespace std::string_view_literals;
  return ('\0' + environment + '\0').contains("\0HOTPATH_NO_ALLOC=1\0"sv);
}

std::unexpected<Error> Refuse(uint32_t pid, std::string_view why) {
  return Fail(ErrorCode::kUnsupported, fmt::format("process {} is not probed: {}", pid, why));
}

// The very file that is mapped. Without the change time that the kernel side tells: by map_files
// alone, whose word is as good; on overlayfs with the identity that map_files itself shows.
Result<OpenedFile> OpenMapping(const std::string& proc, uint32_t pid, const Mapping& mapping) {
  MappedFile file{{.inode = mapping.file.inode,
                   .ctime_ns = UINT64_MAX,
                   .device = mapping.file.device,
                   .generation = 0},
                  mapping.begin,
                  mapping.end,
                  pid,
                  WithoutDeletedMark(mapping.path)};
  auto opened = OpenMappedFile(proc, file);
  if (opened || opened.error().code != ErrorCode::kInvalidArgument) return opened;
  const std::string link =
      fmt::format("{}/{}/map_files/{:x}-{:x}", proc, pid, mapping.begin, mapping.end);
  const Fd seen(open(link.c_str(), O_PATH | O_CLOEXEC));
  struct stat status{};
  if (!seen || fstat(seen.get(), &status) != 0) return opened;
  file.key.inode = status.st_ino;
  file.key.ctime_ns = static_cast<uint64_t>(status.st_ctim.tv_sec) * kSecond_ns +
                      static_cast<uint64_t>(status.st_ctim.tv_nsec);
  return OpenMappedFile(proc, file);
}

const ProbedFunction* FindMalloc(const Placement& placement) {
  const auto found = std::ranges::find(placement.functions, "malloc", &ProbedFunction::name);
  return found == placement.functions.end() ? nullptr : &*found;
}

bool ExportsMalloc(const ProcessAllocator& allocator) {
  const ProbedFunction* malloc = FindMalloc(allocator.placement);
  return malloc != nullptr && malloc->exported;
}

// Says which are live; see ProcessAllocator::live.
void MarkLive(std::vector<ProcessAllocator>& allocators, const std::vector<MapFile>& order) {
  const ProcessAllocator* first = nullptr;
  size_t exporting = 0;
  for (const ProcessAllocator& allocator : allocators) {
    if (!ExportsMalloc(allocator)) continue;
    ++exporting;
    const auto place = [&order](const ProcessAllocator& of) {
      return std::ranges::find(order, of.file) - order.begin();
    };
    if (std::ranges::find(order, allocator.file) == order.end()) continue;
    if (first == nullptr || place(allocator) < place(*first)) first = &allocator;
  }
  for (ProcessAllocator& allocator : allocators) {
    const bool is_first = first != nullptr && allocator.file == first->file;
    allocator.live = !ExportsMalloc(allocator) || exporting == 1 || is_first;
    if (allocator.live) continue;
    if (first == nullptr) {
      allocator.why = "two files export malloc, and the linker's order cannot be read";
    } else {
      allocator.why = fmt::format("malloc is bound to {}", first->path);
    }
  }
  std::ranges::stable_sort(allocators, std::ranges::greater(), &ProcessAllocator::live);
}

}  // namespace

AllocatorFinder::AllocatorFinder(FileWorker& files, std::string proc)
    : files_(files), proc_(std::move(proc)) {}

Result<void> AllocatorFinder::CheckProcess(uint32_t pid) const {
  const std::string process = fmt::format("{}/{}", proc_, pid);
  if (pid == static_cast<uint32_t>(getpid())) return Refuse(pid, "it is this one");
  const auto status = ReadProcFile(process + "/status", kMaxStatusBytes);
  if (!status) return std::unexpected(status.error());
  if (const uint64_t tracer = FieldOf(*status, "TracerPid"); tracer != 0) {
    return Refuse(pid, fmt::format("process {} traces it", tracer));
  }
  const auto environment = ReadProcFile(process + "/environ", kMaxEnvironmentBytes);
  if (!environment) return std::unexpected(environment.error());
  if (OptsOut(*environment)) return Refuse(pid, "HOTPATH_NO_ALLOC=1 is in its environment");
  const auto memory = ReadProcFile(process + "/smaps_rollup", kMaxStatusBytes);
  if (!memory) return std::unexpected(memory.error());
  if (FieldOf(*memory, "FilePmdMapped") != 0) {
    return Refuse(pid, "it maps files in huge pages, which a probe would split");
  }
  return {};
}

Result<Placement> AllocatorFinder::PlacementOf(uint32_t pid, const Mapping& mapping) {
  const auto opened = OpenMapping(proc_, pid, mapping);
  if (!opened) return std::unexpected(opened.error());
  struct stat status{};
  if (fstat(opened->fd.get(), &status) != 0) return FailErrno("fstat " + mapping.path);
  const FileStamp stamp{status.st_dev, status.st_ino, static_cast<uint64_t>(status.st_size),
                        status.st_ctim.tv_sec, status.st_ctim.tv_nsec};
  if (const auto found = kept_.find(stamp); found != kept_.end()) return found->second;
  auto placement = files_.Place(opened->fd.get());
  if (!placement) return placement;
  if (kept_.size() >= kMaxKept) kept_.clear();
  kept_.emplace(stamp, *placement);
  return placement;
}

Result<std::vector<ProcessAllocator>> AllocatorFinder::Find(uint32_t pid) {
  if (auto allowed = CheckProcess(pid); !allowed) return std::unexpected(allowed.error());
  const auto text = ReadProcFile(fmt::format("{}/{}/maps", proc_, pid), kMaxMapsBytes);
  if (!text) return std::unexpected(text.error());
  const std::vector<Mapping> maps = ParseMaps(*text);
  std::vector<ProcessAllocator> allocators;
  std::set<MapFile> seen;
  Error last{ErrorCode::kNotFound, "no file of it has a known name of an allocator's"};
  for (const Mapping& mapping : maps) {
    if (!mapping.executable || mapping.file.inode == 0 || seen.size() >= kMaxFiles) continue;
    if (!seen.insert(mapping.file).second) continue;
    auto placement = PlacementOf(pid, mapping);
    if (!placement) {
      last = placement.error();
    } else if (!placement->allocator.empty()) {
      allocators.push_back({*std::move(placement), mapping.file, mapping.path, false, {}});
    }
  }
  if (allocators.empty()) {
    return Fail(last.code, fmt::format("allocators of process {}: {}", pid, last.message));
  }
  MarkLive(allocators, SymbolOrder(proc_, pid, maps));
  return allocators;
}

Result<void> AllocatorFinder::VerifyMapped(uint32_t pid, const ProcessAllocator& allocator,
                                           const ProbedFunction& function) const {
  if (function.code.empty()) return Fail(ErrorCode::kNotFound, function.name + " has no site");
  const auto text = ReadProcFile(fmt::format("{}/{}/maps", proc_, pid), kMaxMapsBytes);
  if (!text) return std::unexpected(text.error());
  const auto memory = ProcessMemory::Open(proc_, pid);
  if (!memory) return std::unexpected(memory.error());
  const uint64_t begin = function.site.offset - (function.site.address - function.address);
  const uint64_t end = begin + function.code.size();
  std::vector<uint8_t> mapped(function.code.size());
  bool found = false;
  for (const Mapping& mapping : ParseMaps(*text)) {
    const uint64_t last = mapping.offset + (mapping.end - mapping.begin);
    if (!mapping.executable || mapping.file != allocator.file) continue;
    if (begin < mapping.offset || end > last) continue;
    found = true;
    const uint64_t address = mapping.begin + (begin - mapping.offset);
    if (auto read = memory->Read(address, mapped); !read) return read;
    const auto [decoded, other] = std::ranges::mismatch(function.code, mapped);
    if (decoded == function.code.end()) continue;
    return Fail(
        ErrorCode::kMalformed,
        fmt::format("{} of process {}: the byte at {:#x} is {:#04x} and not the file's "
                    "{:#04x}",
                    function.name, pid, address + (other - mapped.begin()), *other, *decoded));
  }
  if (!found) {
    return Fail(ErrorCode::kNotFound, fmt::format("process {} does not map {} of {}", pid,
                                                  function.name, allocator.path));
  }
  return {};
}

}  // namespace hotpath
