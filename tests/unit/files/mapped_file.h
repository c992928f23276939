// Mapped files for tests: a made-up /proc, and real mappings of this process.
#pragma once

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "daemon/files/file_identity.h"
#include "made_files.h"

namespace hotpath {

// The key the kernel side would give the file at `path`.
inline hp_file_key KeyOf(const std::string& path) {
  struct stat status{};
  EXPECT_EQ(stat(path.c_str(), &status), 0) << path;
  hp_file_key key{};
  key.inode = status.st_ino;
  key.ctime_ns = static_cast<uint64_t>(status.st_ctim.tv_sec) * 1'000'000'000 +
                 static_cast<uint64_t>(status.st_ctim.tv_nsec);
  key.device = major(status.st_dev) << 20 | minor(status.st_dev);
  return key;
}

// /proc with one process, whose map_files are symbolic links.
class FakeProcess {
 public:
  static constexpr uint32_t kPid = 42;

  FakeProcess() {
    std::filesystem::create_directories(Directory() + "/map_files");
    std::filesystem::create_directories(root());
  }
  const TemporaryFolder& folder() const { return folder_; }
  std::string proc() const { return folder_ / "proc"; }
  std::string root() const { return Directory() + "/root"; }

  MappedFile Map(const std::string& path, const std::string& shown_path) {
    const uint64_t start = next_start_;
    next_start_ += 0x10000;
    std::filesystem::create_symlink(
        path, fmt::format("{}/map_files/{:x}-{:x}", Directory(), start, start + 0x2000));
    return {KeyOf(path), start, start + 0x2000, kPid, shown_path};
  }
  static MappedFile Gone(const hp_file_key& key, const std::string& path) {
    return {key, 0x1000, 0x2000, kPid, path};
  }
  void WriteProcFile(const std::string& name, const std::string& text) const {
    std::ofstream(Directory() + "/" + name, std::ios::trunc) << text;
  }

 private:
  std::string Directory() const { return fmt::format("{}/{}", folder_ / "proc", kPid); }
  TemporaryFolder folder_;
  uint64_t next_start_ = 0x7f0000000000;
};

// A file mapped into this very process.
class RealMapping {
 public:
  explicit RealMapping(const std::string& path) : key_(KeyOf(path)) {
    const Fd fd = OpenForReading(path);
    constexpr size_t kPage = 4'096;
    bytes_ = (std::filesystem::file_size(path) + kPage - 1) / kPage * kPage;
    at_ = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    EXPECT_NE(at_, MAP_FAILED);
  }
  ~RealMapping() { munmap(at_, bytes_); }
  RealMapping(const RealMapping&) = delete;
  RealMapping& operator=(const RealMapping&) = delete;

  MappedFile AsMappedFile(const std::string& path) const {
    const auto start = reinterpret_cast<uint64_t>(at_);
    return {key_, start, start + bytes_, static_cast<uint32_t>(getpid()), path};
  }

 private:
  hp_file_key key_;
  void* at_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace hotpath
