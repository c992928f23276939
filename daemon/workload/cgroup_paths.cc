// open_by_handle_at where it is allowed, a walk of the tree where it is not.
#include "daemon/workload/cgroup_paths.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <utility>
#include <vector>

namespace hotpath {
namespace {

constexpr int kKernfsHandle = 0xfe;  // FILEID_KERNFS, Linux 5.5: the 64-bit id and nothing else.

// The mount point of cgroup2; on a hybrid host /sys/fs/cgroup/unified.
std::string FindMount(const std::string& proc) {
  std::ifstream mounts(proc + "/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string source, point, type;
    if (fields >> source >> point >> type && type == "cgroup2") return point;
  }
  return {};
}

}  // namespace

CgroupPaths::CgroupPaths(Options options)
    : options_(std::move(options)),
      mount_(options_.mount ? *options_.mount : FindMount(options_.proc)) {
  if (mount_.empty()) return;
  mount_fd_.Reset(open(mount_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct statfs system{};
  by_handle_ =
      mount_fd_ && fstatfs(mount_fd_.get(), &system) == 0 && system.f_type == CGROUP2_SUPER_MAGIC;
}

std::optional<std::string> CgroupPaths::Find(uint64_t cgroup_id) {
  const std::lock_guard lock(mutex_);
  if (const auto it = paths_.find(cgroup_id); it != paths_.end()) return it->second;
  if (!mount_fd_) return std::nullopt;
  if (by_handle_) {
    if (auto path = OpenById(cgroup_id)) {
      Remember(cgroup_id, *path);
      return path;
    }
    if (errno == ESTALE) return std::nullopt;  // The cgroup is gone: no walk will find it.
  }
  const auto now = options_.now();
  if (last_walk_ && now - *last_walk_ < kWalkEvery) return std::nullopt;
  last_walk_ = now;
  Walk();
  const auto it = paths_.find(cgroup_id);
  return it == paths_.end() ? std::nullopt : std::optional(it->second);
}

// Leaves errno of the call that failed.
std::optional<std::string> CgroupPaths::OpenById(uint64_t cgroup_id) const {
  alignas(file_handle) std::array<char, sizeof(file_handle) + sizeof cgroup_id> memory{};
  auto* handle = reinterpret_cast<file_handle*>(memory.data());
  handle->handle_bytes = sizeof cgroup_id;
  handle->handle_type = kKernfsHandle;
  std::memcpy(memory.data() + offsetof(file_handle, f_handle), &cgroup_id, sizeof cgroup_id);
  const int raw = open_by_handle_at(mount_fd_.get(), handle, O_PATH | O_CLOEXEC);
  if (raw < 0) return std::nullopt;
  const Fd fd(raw);
  std::array<char, PATH_MAX> target;
  const ssize_t bytes =
      readlink(fmt::format("/proc/self/fd/{}", fd.get()).c_str(), target.data(), target.size());
  if (bytes <= 0) return std::nullopt;
  std::string path(target.data(), static_cast<size_t>(bytes));
  if (!path.starts_with(mount_)) {
    errno = EXDEV;
    return std::nullopt;
  }
  path.erase(0, mount_.size());
  return path.empty() ? "/" : path;
}

void CgroupPaths::Walk() {
  // Depth first by path; a directory that vanishes on the way is skipped.
  std::vector<std::string> pending{""};
  size_t visited = 0;
  while (!pending.empty() && visited < kMaxDirectories) {
    const std::string path = std::move(pending.back());
    pending.pop_back();
    ++visited;
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir((mount_ + path).c_str()), closedir);
    if (!directory) continue;
    struct stat status{};
    const int fd = dirfd(directory.get());
    if (fd < 0 || fstat(fd, &status) != 0) continue;
    Remember(status.st_ino, path.empty() ? "/" : path);
    while (const dirent* entry = readdir(directory.get())) {
      const std::string_view name = entry->d_name;
      if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
      if (path.size() + name.size() + 1 < PATH_MAX)
        pending.push_back(fmt::format("{}/{}", path, name));
    }
  }
}

void CgroupPaths::Remember(uint64_t cgroup_id, std::string path) {
  // Full: the paths of what lives come back by themselves.
  if (paths_.size() >= options_.max_paths) paths_.clear();
  paths_.insert_or_assign(cgroup_id, std::move(path));
}

}  // namespace hotpath
