// SymbolCache: sharing, persistence, and its bound on disk.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "daemon/files/symbol_cache.h"
#include "made_files.h"

namespace hotpath {
namespace {

namespace fs = std::filesystem;

// A small valid index.
std::string SomeIndex() {
  const Fd fd = OpenForReading(LibcPath());
  const auto elf = ElfFile::Open(fd.get());
  EXPECT_TRUE(elf);
  const auto bytes = BuildSymbolIndex(*elf, nullptr, {});
  EXPECT_TRUE(bytes);
  return *bytes;
}

Fd Memfd(const std::string& bytes) {
  Fd fd(memfd_create("index", MFD_CLOEXEC));
  EXPECT_EQ(pwrite(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return fd;
}

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

TEST(SymbolCache, ANameTellsBuildSizeAndDebugFile) {
  EXPECT_EQ(SymbolCache::Name("abcd", 17, false), "abcd-17");
  EXPECT_EQ(SymbolCache::Name("abcd", 17, true), "abcd-17.debug");
  EXPECT_EQ(SymbolCache::Name("", 17, true), "");
}

TEST(SymbolCache, WithoutAFolderAnIndexLivesAsLongAsItIsUsed) {
  SymbolCache cache("", 1 << 20);
  const std::string bytes = SomeIndex();
  auto put = cache.Put("a", Memfd(bytes), bytes.size());
  ASSERT_TRUE(put) << put.error().message;
  EXPECT_EQ(cache.Find("a"), *put);
  put->reset();
  EXPECT_EQ(cache.Find("a"), nullptr);
}

TEST(SymbolCache, WithAFolderItComesBack) {
  const TemporaryFolder folder;
  const std::string bytes = SomeIndex();
  {
    SymbolCache cache(folder / "deep/cache", uint64_t{1} << 30);
    ASSERT_TRUE(cache.Put("a", Memfd(bytes), bytes.size()));
  }
  EXPECT_EQ(FilesIn(folder / "deep/cache"), std::vector<std::string>{"a.sym"});
  struct stat status{};
  ASSERT_EQ(stat((folder / "deep/cache/a.sym").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  SymbolCache again(folder / "deep/cache", uint64_t{1} << 30);
  EXPECT_NE(again.Find("a"), nullptr);
  EXPECT_EQ(again.Find("b"), nullptr);
}

TEST(SymbolCache, BytesThatAreNoIndexAreRefused) {
  SymbolCache cache("", 1 << 20);
  EXPECT_FALSE(cache.Put("a", Memfd("rubbish"), 7));
  EXPECT_EQ(cache.Find("a"), nullptr);
}

TEST(SymbolCache, TheOldestGoesWhenThereIsNoRoom) {
  const TemporaryFolder folder;
  const std::string bytes = SomeIndex();
  SymbolCache cache(folder / "cache", 2 * bytes.size());
  ASSERT_TRUE(cache.Put("a", Memfd(bytes), bytes.size()));
  ASSERT_TRUE(cache.Put("b", Memfd(bytes), bytes.size()));
  const auto now = fs::file_time_type::clock::now();
  fs::last_write_time(folder / "cache/a.sym", now - std::chrono::hours(1));
  fs::last_write_time(folder / "cache/b.sym", now - std::chrono::hours(2));
  ASSERT_TRUE(cache.Put("c", Memfd(bytes), bytes.size()));
  EXPECT_EQ(FilesIn(folder / "cache"), (std::vector<std::string>{"a.sym", "c.sym"}));
}

TEST(SymbolCache, AFolderThatCannotBeMadeCostsPersistenceOnly) {
  const TemporaryFolder folder;
  const std::string bytes = SomeIndex();
  SymbolCache cache(folder.Write("file", "") + "/cache", 1 << 20);
  const auto put = cache.Put("a", Memfd(bytes), bytes.size());
  ASSERT_TRUE(put);
  EXPECT_EQ(cache.Find("a"), *put);
}

TEST(SymbolCache, WhatAnEarlierRunWasWritingIsRemoved) {
  const TemporaryFolder folder;
  folder.Write("a.sym.new", "half");
  const SymbolCache cache(folder.path().string(), 1 << 20);
  EXPECT_EQ(FilesIn(folder.path().string()), std::vector<std::string>{});
}

}  // namespace
}  // namespace hotpath
