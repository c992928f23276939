// Opens the very file a process maps, and no other.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>

#include "bpf/abi.h"
#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace hotpath {

// Where to look for a file the kernel side saw: see hp_new_file.
struct MappedFile {
  hp_file_key key;
  uint64_t vma_start = 0, vma_end = 0;
  uint32_t pid = 0;
  std::string path;  // Host's view; may be empty.
};

enum class Identity {
  kSame,
  // Inode and change time are equal and the device is not: overlayfs shows its own device, where
  // the kernel side saw that of the layer below. Two files with one inode number and one change
  // time to the nanosecond are not expected.
  kSameInodeElsewhere,
  // Device and inode are equal and the contents are older than the key: since the sample the file
  // was unlinked or given another name or mode. Believed only of a descriptor from map_files, as an
  // inode number is given anew and a modification time can be set.
  kSameContents,
  // On overlayfs the inode may be its own too. Believed only of a descriptor from map_files, where
  // the kernel itself leads to the mapped file.
  kSameTimeOnOverlay,
  kOther,
};

// `overlay`: the file lies on overlayfs. The key's device is the kernel's own number (major << 20 |
// minor), status holds the one for user space.
Identity CompareIdentity(const struct stat& status, const hp_file_key& key, bool overlay);

struct OpenedFile {
  Fd fd;             // O_RDONLY, a regular file.
  std::string path;  // As the kernel names it, " (deleted)" taken off; else MappedFile::path.
  uint64_t bytes = 0;
  Identity identity = Identity::kSame;
};

// Tries PROC/PID/map_files/START-END, then `path` below PROC/PID/root, then `path` on the host. It
// is looked at (O_PATH) before it is opened, so that a device is never opened, and never through
// a FUSE file system, whose server could keep us waiting.
// Errors: kNotFound when no way leads there, the process being gone; kPermission; kUnsupported for
// FUSE and for what is no regular file; kInvalidArgument when all there was is another file.
Result<OpenedFile> OpenMappedFile(const std::string& proc, const MappedFile& file);

// "/usr/lib/libc.so.6 (deleted)" without the end the kernel adds.
std::string WithoutDeletedMark(std::string path);

}  // namespace hotpath
