// Finds a process's perf map without trusting the process.
#include "daemon/symbolize/perf_maps.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <sstream>
#include <utility>

#include "daemon/base/fd.h"

namespace hotpath {
namespace {

constexpr size_t kMaxProcFileBytes = size_t{4} << 20;
constexpr long kFuseMagic = 0x65735546;
constexpr int64_t kNsPerSecond = 1'000'000'000;

std::string ReadProcFile(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  std::vector<char> buffer(32 * 1024);
  while (fd && text.size() < kMaxProcFileBytes) {
    const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer.data(), static_cast<size_t>(n));
  }
  return text;
}

struct ProcessStatus {
  uint32_t inner_pid = 0;  // As the innermost pid namespace numbers it.
  uint32_t user = 0;       // Effective.
};

std::optional<ProcessStatus> ReadStatus(const std::string& proc, uint32_t pid) {
  std::istringstream lines(ReadProcFile(fmt::format("{}/{}/status", proc, pid)));
  ProcessStatus status{.inner_pid = pid, .user = 0};
  bool has_user = false;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (key == "NSpid:") {
      for (uint32_t number = 0; words >> number;) status.inner_pid = number;
    } else if (key == "Uid:") {
      uint32_t real = 0;
      has_user = static_cast<bool>(words >> real >> status.user);
    }
  }
  if (!has_user) return std::nullopt;
  return status;
}

// Opened inside the process's root, through no link that leads out of it; invalid on any doubt.
Fd OpenMap(const std::string& proc, uint32_t pid, const ProcessStatus& status) {
  const std::string root_path = fmt::format("{}/{}/root", proc, pid);
  const Fd root(open(root_path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return {};
  const std::string path = fmt::format("tmp/perf-{}.map", status.inner_pid);
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  Fd fd(static_cast<int>(syscall(SYS_openat2, root.get(), path.c_str(), &how, sizeof(how))));
  struct stat file{};
  struct statfs system{};
  if (!fd || fstat(fd.get(), &file) != 0 || fstatfs(fd.get(), &system) != 0) return {};
  if (!S_ISREG(file.st_mode) || system.f_type == kFuseMagic) return {};
  if (file.st_uid != status.user && file.st_uid != 0) return {};
  return fd;
}

// The last `max_bytes` of a file, from the beginning of a line.
std::string ReadEnd(int fd, uint64_t file_bytes, size_t max_bytes) {
  const uint64_t skipped = file_bytes > max_bytes ? file_bytes - max_bytes : 0;
  std::string text(std::min<uint64_t>(file_bytes, max_bytes), '\0');
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t n =
        pread(fd, text.data() + done, text.size() - done, static_cast<off_t>(skipped + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  text.resize(done);
  if (skipped > 0) text.erase(0, std::min(text.find('\n'), text.size()));
  return text;
}

}  // namespace

PerfMaps::PerfMaps() : PerfMaps(Options()) {}
PerfMaps::PerfMaps(Options options) : options_(std::move(options)) {}

bool PerfMaps::IsAlive(const ProcessKey& process) const {
  const std::string stat = ReadProcFile(fmt::format("{}/{}/stat", options_.proc, process.pid));
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return false;
  if (process.start_time_ns == 0) return true;
  std::istringstream words(stat.substr(name_end + 1));
  std::string word;
  for (int field = 3; field < 22; ++field) words >> word;
  int64_t ticks = 0;
  if (!(words >> ticks)) return false;
  const int64_t hz = sysconf(_SC_CLK_TCK);
  const int64_t started_ns = ticks / hz * kNsPerSecond + ticks % hz * (kNsPerSecond / hz);
  const int64_t difference = started_ns - static_cast<int64_t>(process.start_time_ns);
  return std::abs(difference) <= 2 * kNsPerSecond / hz;  // The kernel rounds to ticks.
}

void PerfMaps::Refresh(Kept* kept) const {
  if (!IsAlive(kept->process)) return;
  const auto status = ReadStatus(options_.proc, kept->process.pid);
  if (!status) return;
  const Fd fd = OpenMap(options_.proc, kept->process.pid, *status);
  struct stat file{};
  if (!fd || fstat(fd.get(), &file) != 0) return;
  const int64_t modified_ns = file.st_mtim.tv_sec * kNsPerSecond + file.st_mtim.tv_nsec;
  const auto file_bytes = static_cast<uint64_t>(std::max<off_t>(file.st_size, 0));
  if (kept->map && kept->modified_ns == modified_ns && kept->file_bytes == file_bytes) return;
  auto map = PerfMap::Parse(ReadEnd(fd.get(), file_bytes, options_.max_file_bytes));
  kept->modified_ns = modified_ns;
  kept->file_bytes = file_bytes;
  if (map.size() > 0 || !kept->map) kept->map = std::make_shared<const PerfMap>(std::move(map));
}

std::shared_ptr<const PerfMap> PerfMaps::Get(const ProcessKey& process) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find_if(kept_.begin(), kept_.end(),
                                  [&](const Kept& kept) { return kept.process == process; });
  if (found == kept_.end()) {
    kept_.push_front({.process = process, .map = nullptr, .checked_at = {}});
  } else {
    kept_.splice(kept_.begin(), kept_, found);
  }
  Kept& kept = kept_.front();
  const auto now = options_.now();
  if (found == kept_.end() || now - kept.checked_at >= options_.reread_interval) {
    kept.checked_at = now;
    Refresh(&kept);
    Evict();
  }
  return kept.map;
}

void PerfMaps::Evict() {
  size_t bytes = 0, processes = 0;
  for (auto it = kept_.begin(); it != kept_.end();) {
    bytes += it->map ? it->map->bytes() : 0;
    ++processes;
    const bool over = bytes > options_.max_kept_bytes || processes > options_.max_processes;
    it = over && it != kept_.begin() ? kept_.erase(it) : std::next(it);
  }
}

void PerfMaps::Clear() {
  const std::lock_guard lock(mutex_);
  kept_.clear();
}

size_t PerfMaps::kept_bytes() const {
  const std::lock_guard lock(mutex_);
  size_t bytes = 0;
  for (const Kept& kept : kept_) bytes += kept.map ? kept.map->bytes() : 0;
  return bytes;
}

std::vector<std::string> PerfMaps::MappingKinds(const ProcessKey& process,
                                                const std::vector<uint64_t>& addresses) const {
  std::vector<std::string> kinds(addresses.size(), "[anon]");
  if (!IsAlive(process)) return kinds;
  std::istringstream lines(ReadProcFile(fmt::format("{}/{}/maps", options_.proc, process.pid)));
  for (std::string line; std::getline(lines, line);) {
    // "7ffd5000-7ffd7000 rw-p 00000000 00:00 0    [stack]"
    const bool is_stack = line.ends_with("[stack]");
    if (!is_stack && !line.ends_with("[heap]")) continue;
    uint64_t begin = 0, end = 0;
    const char* last = line.data() + line.size();
    const auto dash = std::from_chars(line.data(), last, begin, 16);
    if (dash.ec != std::errc() || dash.ptr == last || *dash.ptr != '-') continue;
    if (std::from_chars(dash.ptr + 1, last, end, 16).ec != std::errc()) continue;
    for (size_t i = 0; i < addresses.size(); ++i) {
      if (addresses[i] >= begin && addresses[i] < end) kinds[i] = is_stack ? "[stack]" : "[heap]";
    }
  }
  return kinds;
}

}  // namespace hotpath
