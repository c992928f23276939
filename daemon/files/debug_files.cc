// Tries the places where distributions put debug files.
#include "daemon/files/debug_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <utility>

namespace hotpath {
namespace {

constexpr long kFuseMagic = 0x65735546;
constexpr size_t kMinBuildIdDigits = 4;

bool IsHex(const std::string& text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

}  // namespace

Result<uint32_t> FileCrc32(int fd) {
  std::vector<uint8_t> buffer(256 * 1024);
  uLong crc = crc32(0, nullptr, 0);
  for (off_t at = 0;;) {
    const ssize_t n = pread(fd, buffer.data(), buffer.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno("read a debug file");
    if (n == 0) return static_cast<uint32_t>(crc);
    crc = crc32(crc, buffer.data(), static_cast<uInt>(n));
    at += n;
  }
}

DebugFileFinder::DebugFileFinder() : DebugFileFinder(Options()) {}
DebugFileFinder::DebugFileFinder(Options options) : options_(std::move(options)) {}

Fd DebugFileFinder::Open(const std::string& path) const {
  // O_NONBLOCK: opening a FIFO would wait for its writer.
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat file{};
  struct statfs system{};
  if (!fd || fstat(fd.get(), &file) != 0 || fstatfs(fd.get(), &system) != 0) return {};
  if (!S_ISREG(file.st_mode) || system.f_type == kFuseMagic) return {};
  if (static_cast<uint64_t>(file.st_size) > options_.max_file_bytes) return {};
  return fd;
}

DebugFileFinder::Found DebugFileFinder::FindByBuildId(const std::string& build_id,
                                                      const std::string& suffix,
                                                      const Describe& describe) const {
  if (build_id.size() < kMinBuildIdDigits || !IsHex(build_id)) return {};
  for (const std::string& prefix : options_.prefixes) {
    for (const std::string& root : options_.debug_roots) {
      const std::string path = fmt::format("{}{}/.build-id/{}/{}{}", prefix, root,
                                           build_id.substr(0, 2), build_id.substr(2), suffix);
      Fd fd = Open(path);
      if (!fd) continue;
      auto facts = describe(fd.get());
      if (!facts || facts->build_id != build_id) continue;
      return {std::move(fd), path, *std::move(facts)};
    }
  }
  return {};
}

DebugFileFinder::Found DebugFileFinder::FindByLink(const FileIndex& binary, const std::string& path,
                                                   const Describe& describe) const {
  const std::string& name = binary.debug_link;
  if (name.empty() || name.contains('/') || name == "." || name == "..") return {};
  const std::string directory = DirectoryOf(path);
  for (const std::string& prefix : options_.prefixes) {
    std::vector<std::string> paths = {
        fmt::format("{}{}/{}", prefix, directory, name),
        fmt::format("{}{}/.debug/{}", prefix, directory, name),
    };
    for (const std::string& root : options_.debug_roots) {
      paths.push_back(fmt::format("{}{}{}/{}", prefix, root, directory, name));
    }
    for (const std::string& candidate : paths) {
      Fd fd = Open(candidate);
      if (!fd) continue;
      auto facts = describe(fd.get());
      if (!facts) continue;
      if (!binary.build_id.empty() && !facts->build_id.empty()) {
        if (facts->build_id != binary.build_id) continue;
      } else {
        const auto crc = FileCrc32(fd.get());
        if (!crc || *crc != binary.debug_link_crc) continue;
      }
      return {std::move(fd), candidate, *std::move(facts)};
    }
  }
  return {};
}

DebugFileFinder::Found DebugFileFinder::FindAlternate(const FileIndex& facts,
                                                      const std::string& path,
                                                      const Describe& describe) const {
  const std::string& link = facts.alternate_link;
  if (link.empty()) return {};
  std::vector<std::string> paths;
  if (link.starts_with('/')) {
    for (const std::string& prefix : options_.prefixes) paths.push_back(prefix + link);
  } else {
    paths.push_back(DirectoryOf(path) + "/" + link);
  }
  for (const std::string& candidate : paths) {
    Fd fd = Open(candidate);
    if (!fd) continue;
    auto found = describe(fd.get());
    if (!found) continue;
    // dwz's file is told by its build ID alone; without one on either side, by its path.
    if (!facts.alternate_build_id.empty() && found->build_id != facts.alternate_build_id) continue;
    return {std::move(fd), candidate, *std::move(found)};
  }
  return FindByBuildId(facts.alternate_build_id, ".debug", describe);
}

DebugFiles DebugFileFinder::Find(const FileIndex& binary, const std::string& path,
                                 const Describe& describe) const {
  Found debug = FindByBuildId(binary.build_id, ".debug", describe);
  if (!debug.fd) debug = FindByLink(binary, path, describe);
  DebugFiles files;
  if (debug.fd) files.alternate = FindAlternate(debug.facts, debug.path, describe).fd;
  if (!files.alternate) {
    const std::string prefix = options_.prefixes.empty() ? "" : options_.prefixes.front();
    files.alternate = FindAlternate(binary, prefix + path, describe).fd;
  }
  files.debug = std::move(debug.fd);
  return files;
}

}  // namespace hotpath
