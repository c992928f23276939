// CgroupPaths over a made-up tree, which has inode numbers as cgroup2 has, and over the real one.
#include "daemon/workload/cgroup_paths.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace hotpath {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

uint64_t InodeOf(const fs::path& path) {
  struct stat status{};
  EXPECT_EQ(stat(path.c_str(), &status), 0) << path;
  return status.st_ino;
}

class CgroupPathsTest : public testing::Test {
 protected:
  CgroupPathsTest() {
    std::string name = (fs::temp_directory_path() / "hotpath-cgroup-XXXXXX").string();
    root_ = mkdtemp(name.data());
    fs::create_directories(root_ / "tree/system.slice/redis.service");
  }
  ~CgroupPathsTest() override { fs::remove_all(root_); }
  CgroupPaths Paths(size_t max_paths = 100) {
    return CgroupPaths({.proc = root_.string(),
                        .mount = (root_ / "tree").string(),
                        .max_paths = max_paths,
                        .now = [this] { return now_; }});
  }
  fs::path root_;
  std::chrono::steady_clock::time_point now_;
};

TEST_F(CgroupPathsTest, AnIdIsTheInodeOfItsDirectory) {
  CgroupPaths paths = Paths();
  EXPECT_EQ(paths.Find(InodeOf(root_ / "tree/system.slice/redis.service")),
            "/system.slice/redis.service");
  EXPECT_EQ(paths.Find(InodeOf(root_ / "tree")), "/");
  EXPECT_EQ(paths.Find(1), std::nullopt);
}

TEST_F(CgroupPathsTest, ANewDirectoryIsFoundByTheNextWalkAndNotBefore) {
  CgroupPaths paths = Paths();
  ASSERT_EQ(paths.Find(1), std::nullopt);  // Walks.
  fs::create_directories(root_ / "tree/late");
  const uint64_t id = InodeOf(root_ / "tree/late");
  now_ += seconds(9);
  EXPECT_EQ(paths.Find(id), std::nullopt);
  now_ += seconds(2);
  EXPECT_EQ(paths.Find(id), "/late");
}

TEST_F(CgroupPathsTest, APathStaysKnownAfterItsCgroupIsGone) {
  CgroupPaths paths = Paths();
  const uint64_t id = InodeOf(root_ / "tree/system.slice/redis.service");
  ASSERT_TRUE(paths.Find(id));
  fs::remove(root_ / "tree/system.slice/redis.service");
  now_ += seconds(100);
  EXPECT_EQ(paths.Find(id), "/system.slice/redis.service");
}

TEST_F(CgroupPathsTest, TheMountIsFoundAmongOthers) {
  fs::create_directories(root_ / "self");
  std::ofstream(root_ / "self/mounts")
      << "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
      << "cgroup2 " << (root_ / "tree").string() << " cgroup2 rw 0 0\n";
  CgroupPaths paths({.proc = root_.string(), .mount = {}});
  EXPECT_EQ(paths.mount(), (root_ / "tree").string());
  EXPECT_TRUE(paths.Find(InodeOf(root_ / "tree/system.slice")));
}

TEST_F(CgroupPathsTest, WithoutAMountNothingIsKnown) {
  CgroupPaths paths({.proc = root_.string(), .mount = {}});
  EXPECT_EQ(paths.mount(), "");
  EXPECT_EQ(paths.Find(1), std::nullopt);
}

TEST(CgroupPaths, TheRealTreesRootIsKnownById) {
  CgroupPaths paths({});
  if (paths.mount().empty()) GTEST_SKIP() << "no cgroup2 here";
  EXPECT_EQ(paths.Find(InodeOf(paths.mount())), "/");
  for (const auto& entry : fs::directory_iterator(paths.mount())) {
    if (!entry.is_directory()) continue;
    EXPECT_EQ(paths.Find(InodeOf(entry.path())), "/" + entry.path().filename().string());
    break;
  }
}

}  // namespace
}  // namespace hotpath
