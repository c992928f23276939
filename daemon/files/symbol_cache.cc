// Files are written beside their name and renamed, so that a reader sees a whole index or none.
#include "daemon/files/symbol_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

namespace hotpath {

namespace fs = std::filesystem;

SymbolCache::SymbolCache(std::string directory, uint64_t max_bytes)
    : directory_(std::move(directory)), max_bytes_(max_bytes) {
  if (directory_.empty()) return;
  std::error_code error;
  fs::create_directories(directory_, error);
  if (error) {
    spdlog::warn("symbols are not kept on disk: create {}: {}", directory_, error.message());
    return;
  }
  // What an earlier run was writing when it ended.
  for (const auto& entry : fs::directory_iterator(directory_, error)) {
    if (entry.path().extension() == ".new") fs::remove(entry.path(), error);
  }
}

std::string SymbolCache::Name(const std::string& build_id, uint64_t file_bytes, bool with_debug) {
  if (build_id.empty()) return {};
  return fmt::format("{}-{}{}", build_id, file_bytes, with_debug ? ".debug" : "");
}

std::shared_ptr<const SymbolIndex> SymbolCache::Find(const std::string& name) {
  if (name.empty()) return nullptr;
  if (const auto it = in_use_.find(name); it != in_use_.end()) {
    if (auto index = it->second.lock()) return index;
    in_use_.erase(it);
  }
  if (directory_.empty()) return nullptr;
  const std::string path = PathOf(name);
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return nullptr;
  auto index = SymbolIndex::Map(fd.get());
  if (!index) {
    spdlog::warn("{}: {}; it is built again", path, index.error().message);
    unlink(path.c_str());
    return nullptr;
  }
  futimens(fd.get(), nullptr);  // Used now: not the next to go.
  auto shared = std::make_shared<const SymbolIndex>(std::move(*index));
  in_use_[name] = shared;
  return shared;
}

Result<std::shared_ptr<const SymbolIndex>> SymbolCache::Put(const std::string& name,
                                                            const Fd& memfd, uint64_t bytes) {
  Fd file;
  if (!directory_.empty() && !name.empty()) {
    auto written = WriteFile(name, memfd, bytes);
    if (written) {
      file = std::move(*written);
    } else {
      spdlog::debug("symbols stay in memory: {}", written.error().message);
    }
  }
  auto index = SymbolIndex::Map(file ? file.get() : memfd.get());
  if (!index) return std::unexpected(index.error());
  auto shared = std::make_shared<const SymbolIndex>(std::move(*index));
  if (!name.empty()) {
    std::erase_if(in_use_, [](const auto& entry) { return entry.second.expired(); });
    in_use_[name] = shared;
  }
  if (file) RemoveOldest();
  return shared;
}

Result<Fd> SymbolCache::WriteFile(const std::string& name, const Fd& memfd, uint64_t bytes) {
  const std::string path = PathOf(name);
  const std::string temporary = path + ".new";
  Fd fd(open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return FailErrno("create " + temporary);
  off_t from = 0;
  while (static_cast<uint64_t>(from) < bytes) {
    const ssize_t copied =
        sendfile(fd.get(), memfd.get(), &from, bytes - static_cast<uint64_t>(from));
    if (copied < 0 && errno == EINTR) continue;
    if (copied <= 0) {
      auto error = FailErrno("write " + temporary);
      unlink(temporary.c_str());
      return error;
    }
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    auto error = FailErrno("rename " + temporary);
    unlink(temporary.c_str());
    return error;
  }
  return fd;
}

void SymbolCache::RemoveOldest() {
  struct Entry {
    fs::file_time_type used;
    uint64_t bytes;
    fs::path path;
  };
  std::vector<Entry> entries;
  uint64_t total = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory_, error)) {
    if (entry.path().extension() != ".sym") continue;
    const uint64_t bytes = entry.file_size(error);
    if (error) continue;
    const auto used = entry.last_write_time(error);
    if (error) continue;
    entries.push_back({used, bytes, entry.path()});
    total += bytes;
  }
  if (total <= max_bytes_) return;
  std::ranges::sort(entries, {}, &Entry::used);
  for (const Entry& entry : entries) {
    if (total <= max_bytes_) return;
    // One that is in use stays mapped; only its name goes.
    if (fs::remove(entry.path, error)) total -= entry.bytes;
  }
}

}  // namespace hotpath
