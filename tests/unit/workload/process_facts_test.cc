// ProcessTable over a made-up /proc, and over the real one for ourselves.
#include "daemon/workload/process_facts.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace hotpath {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
constexpr uint64_t kTick_ns = 10'000'000;

class ProcessFactsTest : public testing::Test {
 protected:
  ProcessFactsTest() {
    std::string name = (fs::temp_directory_path() / "hotpath-proc-XXXXXX").string();
    root_ = mkdtemp(name.data());
    Write(root_ / "passwd", "root:x:0:0::/root:/bin/sh\nredis:x:106:1:::\nalias:x:106:1:::\nbad\n");
  }
  ~ProcessFactsTest() override { fs::remove_all(root_); }

  static void Write(const fs::path& path, const std::string& text) {
    std::ofstream(path, std::ios::trunc) << text;
  }

  void MakeProcess(int pid, uint64_t start_ticks, const std::string& exe, const std::string& cgroup,
                   int uid) {
    const fs::path directory = root_ / std::to_string(pid);
    fs::create_directories(directory);
    std::ostringstream stat;
    stat << pid << " (a) S (b) R 1 2 3";  // A name with ") R" in it.
    for (int field = 7; field < 22; ++field) stat << " 0";
    stat << ' ' << start_ticks << " 0 0\n";
    Write(directory / "stat", stat.str());
    Write(directory / "status", "Name:\tx\nUid:\t7\t" + std::to_string(uid) + "\t7\t7\nGid:\t1\n");
    Write(directory / "cgroup", cgroup);
    fs::remove(directory / "exe");
    fs::create_symlink(exe, directory / "exe");
  }

  ProcessTable Table(size_t max_processes = 16) {
    return ProcessTable({.proc = root_.string(),
                         .passwd = (root_ / "passwd").string(),
                         .max_processes = max_processes,
                         .now = [this] { return now_; }});
  }

  fs::path root_;
  std::chrono::steady_clock::time_point now_;
};

TEST_F(ProcessFactsTest, FactsComeFromTheProcessWithThatStartTime) {
  MakeProcess(42, 500, "/usr/bin/redis-server", "0::/system.slice/redis.service\n", 106);
  ProcessTable table = Table();
  const auto facts = table.Find({42, 500 * kTick_ns + 3'141'592});
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->exe, "/usr/bin/redis-server");
  EXPECT_EQ(facts->cgroup, "/system.slice/redis.service");
  EXPECT_EQ(facts->uid, 106U);
  EXPECT_EQ(facts->user, "redis");
}

TEST_F(ProcessFactsTest, AReusedPidLendsNothingToTheDead) {
  MakeProcess(42, 500, "/usr/bin/new", "0::/\n", 0);
  ProcessTable table = Table();
  EXPECT_FALSE(table.Find({42, 400 * kTick_ns}));
  EXPECT_TRUE(table.Find({42, 500 * kTick_ns}));
  EXPECT_FALSE(table.Find({43, 500 * kTick_ns}));
}

TEST_F(ProcessFactsTest, TheDeletedMarkIsNoPartOfThePath) {
  MakeProcess(42, 1, "/opt/app (deleted)", "0::/\n", 0);
  EXPECT_EQ(Table().Find({42, kTick_ns})->exe, "/opt/app");
}

TEST_F(ProcessFactsTest, FactsOutliveTheProcess) {
  MakeProcess(42, 1, "/bin/a", "0::/\n", 0);
  ProcessTable table = Table();
  ASSERT_TRUE(table.Find({42, kTick_ns}));
  fs::remove_all(root_ / "42");
  now_ += seconds(3'600);
  EXPECT_EQ(table.Find({42, kTick_ns})->exe, "/bin/a");
}

TEST_F(ProcessFactsTest, AnExecShowsWhenTheNameChangesOrAfterAMinute) {
  MakeProcess(42, 1, "/bin/sh", "0::/\n", 0);
  ProcessTable table = Table();
  ASSERT_EQ(table.Find({42, kTick_ns}, "sh")->exe, "/bin/sh");
  MakeProcess(42, 1, "/bin/make", "0::/\n", 0);
  now_ += seconds(2);
  EXPECT_EQ(table.Find({42, kTick_ns}, "sh")->exe, "/bin/sh");
  EXPECT_EQ(table.Find({42, kTick_ns}, "make")->exe, "/bin/make");
  MakeProcess(42, 1, "/bin/true", "0::/\n", 0);
  now_ += seconds(61);
  EXPECT_EQ(table.Find({42, kTick_ns}, "make")->exe, "/bin/true");
}

TEST_F(ProcessFactsTest, TheLeastRecentlyAskedIsForgottenFirst) {
  for (int pid = 1; pid <= 3; ++pid) MakeProcess(pid, 1, "/bin/a", "0::/\n", 0);
  ProcessTable table = Table(2);
  ASSERT_TRUE(table.Find({1, kTick_ns}));
  ASSERT_TRUE(table.Find({2, kTick_ns}));
  ASSERT_TRUE(table.Find({1, kTick_ns}));
  ASSERT_TRUE(table.Find({3, kTick_ns}));  // Pushes 2 out.
  fs::remove_all(root_ / "1");
  fs::remove_all(root_ / "2");
  EXPECT_TRUE(table.Find({1, kTick_ns}));
  EXPECT_FALSE(table.Find({2, kTick_ns}));
}

TEST_F(ProcessFactsTest, ANewUserIsKnownOnceThePasswordFileHasIt) {
  MakeProcess(42, 1, "/bin/a", "0::/\n", 4'711);
  MakeProcess(43, 1, "/bin/a", "0::/\n", 4'711);
  ProcessTable table = Table();
  EXPECT_EQ(table.Find({42, kTick_ns})->user, "");
  Write(root_ / "passwd.new", "web:x:4711:1:::\n");
  fs::rename(root_ / "passwd.new", root_ / "passwd");
  EXPECT_EQ(table.Find({43, kTick_ns})->user, "web");
}

TEST_F(ProcessFactsTest, DamagedFilesGiveNoFacts) {
  MakeProcess(42, 1, "/bin/a", "0::/\n", 0);
  Write(root_ / "42" / "stat", "42 (a) S 1");
  MakeProcess(43, 1, "/bin/a", "0::/\n", 0);
  Write(root_ / "43" / "status", std::string(1 << 20, 'x'));
  MakeProcess(44, 1, "/bin/a", "0::/\n", 0);
  Write(root_ / "44" / "stat", "");
  ProcessTable table = Table();
  for (uint32_t pid = 42; pid <= 44; ++pid) EXPECT_FALSE(table.Find({pid, kTick_ns})) << pid;
}

TEST_F(ProcessFactsTest, OurOwnProcessIsFoundInTheRealProc) {
  std::ifstream stat("/proc/self/stat");
  const std::string text(std::istreambuf_iterator<char>(stat), {});
  std::istringstream fields(text.substr(text.rfind(") ") + 2));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  ProcessTable table({});
  const auto facts = table.Find({static_cast<uint32_t>(getpid()), std::stoull(field) * kTick_ns});
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->exe, fs::read_symlink("/proc/self/exe").string());
  EXPECT_EQ(facts->uid, geteuid());
  EXPECT_TRUE(facts->cgroup.starts_with('/')) << facts->cgroup;
}

TEST(CgroupFromText, TheUnifiedLineCountsUnlessItIsTheRootOfAHybridHost) {
  EXPECT_EQ(CgroupFromText("0::/a/b\n"), "/a/b");
  EXPECT_EQ(CgroupFromText("9:name=systemd:/s\n4:memory:/m\n0::/\n"), "/s");
  EXPECT_EQ(CgroupFromText("9:name=systemd:/\n4:memory:/m\n0::/\n"), "/m");
  EXPECT_EQ(CgroupFromText("9:name=systemd:/s\n0::/u\n"), "/u");
  EXPECT_EQ(CgroupFromText("0::/with:colon\n"), "/with:colon");
  EXPECT_EQ(CgroupFromText("0::/\n"), "/");
  EXPECT_EQ(CgroupFromText("rubbish"), "");
}

}  // namespace
}  // namespace hotpath
