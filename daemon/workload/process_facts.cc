// Reads /proc/PID through one descriptor of its directory, which stays with that process.
#include "daemon/workload/process_facts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <climits>
#include <utility>

namespace hotpath {
namespace {

constexpr size_t kMaxProcFileBytes = 64 << 10;

std::string ReadAt(int directory, const char* name, size_t limit) {
  const Fd fd(openat(directory, name, O_RDONLY | O_CLOEXEC));
  std::string text;
  std::array<char, 4'096> part;
  while (fd && text.size() < limit) {
    // Of /proc and /etc/passwd: nobody keeps us waiting there, so the table may stay locked.
    // NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection)
    const ssize_t bytes = read(fd.get(), part.data(), part.size());
    if (bytes <= 0) break;
    text.append(part.data(), static_cast<size_t>(bytes));
  }
  return text;
}

template <typename T>
std::optional<T> Number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end != text.data() ? std::optional(value) : std::nullopt;
}

// Cuts off and returns what stands before `separator`.
std::string_view Take(std::string_view& text, char separator) {
  const size_t end = text.find(separator);
  const std::string_view token = text.substr(0, end);
  text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  return token;
}

// Field 22 of stat, in ticks. The name in field 2 may hold anything, ") " as well: the last counts.
std::optional<uint64_t> StartTicks(std::string_view stat) {
  const size_t name_end = stat.rfind(") ");
  if (name_end == std::string_view::npos) return std::nullopt;
  stat.remove_prefix(name_end + 2);
  constexpr int kFieldsBetween = 22 - 3;
  for (int i = 0; i < kFieldsBetween; ++i) Take(stat, ' ');
  return Number<uint64_t>(stat);
}

// The effective uid of a status text: "Uid:\treal\teffective\tsaved\tfs".
std::optional<uint32_t> UidFromStatus(std::string_view status) {
  while (!status.empty()) {
    std::string_view line = Take(status, '\n');
    if (!line.starts_with("Uid:")) continue;
    Take(line, '\t');
    Take(line, '\t');
    return Number<uint32_t>(line);
  }
  return std::nullopt;
}

std::string ReadExe(int directory) {
  std::array<char, PATH_MAX> target;
  const ssize_t bytes = readlinkat(directory, "exe", target.data(), target.size());
  if (bytes <= 0) return {};
  std::string path(target.data(), static_cast<size_t>(bytes));
  constexpr std::string_view kDeleted = " (deleted)";
  if (path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
  return path;
}

}  // namespace

std::string CgroupFromText(std::string_view text) {
  std::string unified, systemd, memory;
  while (!text.empty()) {
    std::string_view line = Take(text, '\n');
    const std::string_view number = Take(line, ':');
    const std::string_view controllers = Take(line, ':');
    if (number == "0" && controllers.empty()) unified = line;
    if (controllers == "name=systemd") systemd = line;
    if (controllers == "memory") memory = line;
  }
  if (unified.size() > 1) return unified;
  if (systemd.size() > 1) return systemd;
  if (memory.size() > 1) return memory;
  return !unified.empty() ? unified : !systemd.empty() ? systemd : memory;
}

std::string UserNames::Find(uint32_t uid) {
  struct stat status{};
  if (stat(path_.c_str(), &status) != 0) return {};
  const int64_t changed_ns = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
  if (changed_ns != changed_ns_ || status.st_ino != inode_) {
    changed_ns_ = changed_ns;
    inode_ = status.st_ino;
    names_.clear();
    const std::string text = ReadAt(AT_FDCWD, path_.c_str(), kMaxBytes);
    std::string_view rest = text;
    while (!rest.empty()) {  // name:password:uid:...; the first of a uid counts, as for getpwuid.
      std::string_view line = Take(rest, '\n');
      const std::string_view name = Take(line, ':');
      Take(line, ':');
      const auto number = Number<uint32_t>(Take(line, ':'));
      if (number && !name.empty() && name.front() != '#') names_.emplace(*number, name);
    }
  }
  const auto it = names_.find(uid);
  return it == names_.end() ? std::string() : it->second;
}

ProcessTable::ProcessTable(Options options)
    : options_(std::move(options)),
      ticks_per_second_(sysconf(_SC_CLK_TCK)),
      users_(options_.passwd) {}

std::optional<ProcessFacts> ProcessTable::Read(const ProcessKey& key) {
  const std::string path = fmt::format("{}/{}", options_.proc, key.pid);
  const Fd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return std::nullopt;
  const auto ticks = StartTicks(ReadAt(directory.get(), "stat", kMaxProcFileBytes));
  if (!ticks) return std::nullopt;
  const uint64_t start_ns = *ticks * (1'000'000'000 / static_cast<uint64_t>(ticks_per_second_));
  const uint64_t apart_ns =
      start_ns > key.start_time_ns ? start_ns - key.start_time_ns : key.start_time_ns - start_ns;
  if (apart_ns > kStartTolerance_ns) return std::nullopt;  // The pid has another process now.

  ProcessFacts facts;
  facts.exe = ReadExe(directory.get());
  facts.cgroup = CgroupFromText(ReadAt(directory.get(), "cgroup", kMaxProcFileBytes));
  const auto uid = UidFromStatus(ReadAt(directory.get(), "status", kMaxProcFileBytes));
  if (!uid) return std::nullopt;  // It ended in between: half of the facts would mislead.
  facts.uid = *uid;
  facts.user = users_.Find(*uid);
  return facts;
}

std::optional<ProcessFacts> ProcessTable::Find(const ProcessKey& key, std::string_view name) {
  const std::lock_guard lock(mutex_);
  const auto now = options_.now();
  if (const auto it = index_.find(key); it != index_.end()) {
    entries_.splice(entries_.begin(), entries_, it->second);
    Entry& entry = entries_.front();
    if (!entry.facts) return std::nullopt;  // Gone then, gone for ever.
    const bool renamed = !name.empty() && name != entry.name;
    const auto age = now - entry.read_at;
    if (age < (renamed ? kRefreshRenamedAfter : kRefreshAfter)) return entry.facts;
    entry.read_at = now;
    if (auto facts = Read(key)) {  // Else it ended: what is known of it stays.
      entry.facts = std::move(facts);
      if (renamed) entry.name = name;
    }
    return entry.facts;
  }
  while (entries_.size() >= options_.max_processes) {
    index_.erase(entries_.back().key);
    entries_.pop_back();
  }
  entries_.push_front({key, Read(key), std::string(name), now});
  index_.emplace(key, entries_.begin());
  return entries_.front().facts;
}

}  // namespace hotpath
