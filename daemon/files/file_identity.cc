// Three ways to a file, each checked against (device, inode, change time) before it is believed.
#include "daemon/files/file_identity.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <string_view>

namespace hotpath {
namespace {

constexpr int kMinorBits = 20;  // Of the kernel's dev_t.
constexpr size_t kMaxMountInfoBytes = 4 << 20;

std::string ReadLink(const std::string& link) {
  std::array<char, PATH_MAX> target;
  const ssize_t bytes = readlink(link.c_str(), target.data(), target.size());
  return bytes <= 0 ? std::string() : std::string(target.data(), static_cast<size_t>(bytes));
}

std::string ReadBounded(const std::string& path, size_t limit) {
  std::string text;
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 16'384> part;
  while (fd && text.size() < limit) {
    const ssize_t bytes = read(fd.get(), part.data(), part.size());
    if (bytes <= 0) break;
    text.append(part.data(), static_cast<size_t>(bytes));
  }
  return text;
}

// A line of mountinfo: "36 35 98:0 /root /mount options optional... - type source options".
bool IsFuseDevice(const std::string& mount_info, uint32_t device) {
  const std::string number =
      fmt::format(" {}:{} ", device >> kMinorBits, device & ((1U << kMinorBits) - 1));
  size_t begin = 0;
  while (begin < mount_info.size()) {
    const size_t end = std::min(mount_info.find('\n', begin), mount_info.size());
    const std::string_view line = std::string_view(mount_info).substr(begin, end - begin);
    const size_t type = line.find(" - ");
    if (line.contains(number) && line.find(number) < line.find('/') &&
        type != std::string_view::npos && line.substr(type + 3).starts_with("fuse")) {
      return true;
    }
    begin = end + 1;
  }
  return false;
}

uint64_t Nanoseconds(const timespec& time) {
  constexpr uint64_t kSecond_ns = 1'000'000'000;
  return static_cast<uint64_t>(time.tv_sec) * kSecond_ns + static_cast<uint64_t>(time.tv_nsec);
}

bool OnOverlay(int fd) {
  struct statfs system{};
  return fstatfs(fd, &system) == 0 && system.f_type == OVERLAYFS_SUPER_MAGIC;
}

// `path` as the process sees it: its links are followed within its own root.
Fd OpenBelow(const std::string& root, const std::string& path) {
  const Fd directory(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return Fd();
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const long fd = syscall(SYS_openat2, directory.get(), path.c_str(), &how, sizeof how);
  const int error = errno;
  if (fd < 0) errno = error;
  return Fd(static_cast<int>(fd));
}

// From a look (O_PATH) to a descriptor to read. `trusted`: the kernel led to it.
Result<OpenedFile> OpenSeen(const Fd& seen, const hp_file_key& key, bool trusted,
                            const std::string& name) {
  struct stat status{};
  if (fstat(seen.get(), &status) != 0) return FailErrno("fstat " + name);
  if (!S_ISREG(status.st_mode)) {
    return Fail(ErrorCode::kUnsupported, name + " is no regular file");
  }
  OpenedFile opened;
  opened.identity = CompareIdentity(status, key, OnOverlay(seen.get()));
  const bool needs_trust =
      opened.identity == Identity::kSameTimeOnOverlay || opened.identity == Identity::kSameContents;
  if (opened.identity == Identity::kOther || (needs_trust && !trusted)) {
    return Fail(ErrorCode::kInvalidArgument, name + " is another file than the one mapped");
  }
  const std::string again = fmt::format("/proc/self/fd/{}", seen.get());
  opened.fd.Reset(open(again.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (!opened.fd) return FailErrno("open " + name);
  opened.bytes = static_cast<uint64_t>(status.st_size);
  return opened;
}

}  // namespace

std::string WithoutDeletedMark(std::string path) {
  constexpr std::string_view kMark = " (deleted)";
  if (path.ends_with(kMark)) path.resize(path.size() - kMark.size());
  return path;
}

Identity CompareIdentity(const struct stat& status, const hp_file_key& key, bool overlay) {
  const uint32_t device = major(status.st_dev) << kMinorBits | minor(status.st_dev);
  const bool same_inode = status.st_ino == key.inode;
  if (Nanoseconds(status.st_ctim) == key.ctime_ns) {
    if (same_inode) return device == key.device ? Identity::kSame : Identity::kSameInodeElsewhere;
    return overlay ? Identity::kSameTimeOnOverlay : Identity::kOther;
  }
  if (same_inode && device == key.device && Nanoseconds(status.st_mtim) <= key.ctime_ns) {
    return Identity::kSameContents;
  }
  return Identity::kOther;
}

Result<OpenedFile> OpenMappedFile(const std::string& proc, const MappedFile& file) {
  const std::string process = fmt::format("{}/{}", proc, file.pid);
  const std::string mapping =
      fmt::format("{}/map_files/{:x}-{:x}", process, file.vma_start, file.vma_end);
  std::string mount_info = ReadBounded(process + "/mountinfo", kMaxMountInfoBytes);
  if (mount_info.empty()) mount_info = ReadBounded(proc + "/self/mountinfo", kMaxMountInfoBytes);
  if (IsFuseDevice(mount_info, file.key.device)) {
    return Fail(ErrorCode::kUnsupported, file.path + " lies on a FUSE file system");
  }

  // The last word is that of the way that got furthest: another file says more than no file.
  Result<OpenedFile> result = Fail(ErrorCode::kNotFound, "no way to " + file.path);
  const auto attempt = [&](Fd seen, bool trusted, const std::string& name) {
    if (seen) {
      result = OpenSeen(seen, file.key, trusted, name);
    } else if (!result && result.error().code == ErrorCode::kNotFound) {
      result = FailErrno("open " + name);
    }
    return result.has_value();
  };

  const std::string target = ReadLink(mapping);
  const std::string path = WithoutDeletedMark(target.starts_with('/') ? target : file.path);
  if (attempt(Fd(open(mapping.c_str(), O_PATH | O_CLOEXEC)), true, mapping) ||
      (file.path.starts_with('/') &&
       (attempt(OpenBelow(process + "/root", file.path), false, process + "/root" + file.path) ||
        attempt(Fd(open(file.path.c_str(), O_PATH | O_CLOEXEC)), false, file.path)))) {
    result->path = path;
  }
  return result;
}

}  // namespace hotpath
