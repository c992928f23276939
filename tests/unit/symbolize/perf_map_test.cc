// Perf maps: their lines, overlaps, and which files of which processes are believed.
#include "daemon/symbolize/perf_map.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>

#include "daemon/symbolize/perf_maps.h"

namespace hotpath {
namespace {

std::string NameAt(const PerfMap& map, uint64_t address) {
  const auto entry = map.Find(address);
  return entry ? std::string(entry->name) : "(none)";
}

TEST(PerfMap, ReadsLinesAndSkipsWhatIsNone) {
  const PerfMap map = PerfMap::Parse(
      "1000 10 JS:*work /srv/app.js:12:3\n"
      "0x2000 0x20 Ljava/util/HashMap;::get\r\n"
      "\n"
      "nonsense\n"
      "3000 10\n"
      "4000 0 empty\n"
      "ffffffffffffffff 10 wraps\n"
      "5000 8 last one without newline");
  EXPECT_EQ(NameAt(map, 0x1000), "JS:*work /srv/app.js:12:3");
  EXPECT_EQ(NameAt(map, 0x100f), "JS:*work /srv/app.js:12:3");
  EXPECT_EQ(NameAt(map, 0x1010), "(none)");
  EXPECT_EQ(NameAt(map, 0x201f), "Ljava/util/HashMap;::get");
  EXPECT_EQ(NameAt(map, 0x3000), "(none)");
  EXPECT_EQ(NameAt(map, 0x4000), "(none)");
  EXPECT_EQ(NameAt(map, 0x5007), "last one without newline");
  EXPECT_EQ(map.Find(0x1008)->address, 0x1000U);
}

TEST(PerfMap, LetsTheLaterLineWinWhereTheyOverlap) {
  const PerfMap map = PerfMap::Parse(
      "1000 100 old\n"
      "1040 20 middle\n"
      "10f0 20 end\n"
      "ff0 18 begin\n");
  EXPECT_EQ(NameAt(map, 0xff0), "begin");
  EXPECT_EQ(NameAt(map, 0x1007), "begin");
  EXPECT_EQ(NameAt(map, 0x1008), "old");
  EXPECT_EQ(NameAt(map, 0x1040), "middle");
  EXPECT_EQ(NameAt(map, 0x105f), "middle");
  EXPECT_EQ(NameAt(map, 0x1060), "old");
  EXPECT_EQ(NameAt(map, 0x10ef), "old");
  EXPECT_EQ(NameAt(map, 0x10f0), "end");
  EXPECT_EQ(NameAt(map, 0x110f), "end");
  EXPECT_EQ(NameAt(map, 0x1110), "(none)");
}

TEST(PerfMap, AgreesWithPaintingByteByByte) {
  std::mt19937 random(17);
  for (int round = 0; round < 50; ++round) {
    std::map<uint64_t, std::string> painted;
    std::string text;
    for (int line = 0; line < 60; ++line) {
      const uint64_t begin = 1 + random() % 400, bytes = 1 + random() % 60;
      const std::string name = "f" + std::to_string(line);
      char buffer[64];
      std::snprintf(buffer, sizeof(buffer), "%llx %llx %s\n",
                    static_cast<unsigned long long>(begin), static_cast<unsigned long long>(bytes),
                    name.c_str());
      text += buffer;
      for (uint64_t at = begin; at < begin + bytes; ++at) painted[at] = name;
    }
    const PerfMap map = PerfMap::Parse(text);
    for (uint64_t at = 0; at < 500; ++at) {
      EXPECT_EQ(NameAt(map, at), painted.contains(at) ? painted[at] : "(none)") << at;
    }
  }
}

TEST(PerfMap, MakesNamesPrintableAndBounded) {
  const PerfMap map = PerfMap::Parse(
      "1000 10 a\tb\xff"
      "c\n2000 10 " +
      std::string(10'000, 'x'));
  EXPECT_EQ(NameAt(map, 0x1000),
            "a?b\xef\xbf\xbd"
            "c");
  EXPECT_EQ(NameAt(map, 0x2000).size(), PerfMap::kMaxNameBytes);
}

// A /proc of one process, 77, which calls itself 5 inside its namespace.
class FakeProc {
 public:
  FakeProc() {
    std::string name = testing::TempDir() + "/proc-XXXXXX";
    root_ = mkdtemp(name.data());
    std::filesystem::create_directories(root_ + "/77/root/tmp");
    Write("77/stat", "77 (a ) b) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 1234 1 1");
    Write("77/status", "Name:\tx\nUid:\t" + std::to_string(getuid()) + "\t" +
                           std::to_string(getuid()) + "\t0\t0\nNSpid:\t77\t5\n");
    Write("77/maps",
          "10000-20000 rw-p 00000000 00:00 0    [heap]\n"
          "7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n"
          "7ffd00000000-7ffd00010000 rw-p 00000000 00:00 0    [stack]\n");
  }
  ~FakeProc() { std::filesystem::remove_all(root_); }
  FakeProc(const FakeProc&) = delete;
  FakeProc& operator=(const FakeProc&) = delete;
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(root_ + "/" + name, std::ios::trunc) << text;
  }
  const std::string& root() const { return root_; }
  static ProcessKey Process() { return {77, uint64_t{1234} * 1'000'000'000 / 100}; }
  // Maps whose clock never makes them wait.
  PerfMaps Maps(size_t max_file_bytes = 1 << 20) const {
    PerfMaps::Options options;
    options.proc = root_;
    options.max_file_bytes = max_file_bytes;
    options.reread_interval = std::chrono::milliseconds(0);
    return PerfMaps(options);
  }

 private:
  std::string root_;
};

TEST(PerfMaps, ReadsTheFileThatTheProcessNamesByItsInnerPid) {
  const FakeProc proc;
  proc.Write("77/root/tmp/perf-5.map", "1000 10 inner\n");
  proc.Write("77/root/tmp/perf-77.map", "1000 10 outer\n");
  PerfMaps maps = proc.Maps();
  const auto map = maps.Get(FakeProc::Process());
  ASSERT_NE(map, nullptr);
  EXPECT_EQ(NameAt(*map, 0x1000), "inner");
}

TEST(PerfMaps, ReadsAgainWhenTheFileGrewAndKeepsTheLastAfterTheProcessIsGone) {
  const FakeProc proc;
  proc.Write("77/root/tmp/perf-5.map", "1000 10 first\n");
  PerfMaps maps = proc.Maps();
  EXPECT_EQ(NameAt(*maps.Get(FakeProc::Process()), 0x2000), "(none)");
  proc.Write("77/root/tmp/perf-5.map", "1000 10 first\n2000 10 second\n");
  EXPECT_EQ(NameAt(*maps.Get(FakeProc::Process()), 0x2000), "second");
  std::filesystem::remove_all(proc.root() + "/77");
  ASSERT_NE(maps.Get(FakeProc::Process()), nullptr);
  EXPECT_EQ(NameAt(*maps.Get(FakeProc::Process()), 0x2000), "second");
}

TEST(PerfMaps, DoesNotTakeTheFileOfALaterProcessWithThatPid) {
  const FakeProc proc;
  proc.Write("77/root/tmp/perf-5.map", "1000 10 mine\n");
  PerfMaps maps = proc.Maps();
  EXPECT_EQ(maps.Get({77, 99'000'000'000}), nullptr);
  EXPECT_NE(maps.Get({77, 0}), nullptr);
}

TEST(PerfMaps, RefusesLinksAndFifos) {
  const FakeProc proc;
  PerfMaps maps = proc.Maps();
  const std::string path = proc.root() + "/77/root/tmp/perf-5.map";
  proc.Write("77/root/tmp/real", "1000 10 linked\n");
  std::filesystem::create_symlink("real", path);
  EXPECT_EQ(maps.Get(FakeProc::Process()), nullptr);
  std::filesystem::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(maps.Get(FakeProc::Process()), nullptr);
}

TEST(PerfMaps, RefusesFilesOfStrangers) {
  if (getuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const FakeProc proc;
  proc.Write("77/root/tmp/perf-5.map", "1000 10 planted\n");
  PerfMaps maps = proc.Maps();
  ASSERT_EQ(chown((proc.root() + "/77/root/tmp/perf-5.map").c_str(), 12345, 12345), 0);
  EXPECT_EQ(maps.Get(FakeProc::Process()), nullptr);
}

TEST(PerfMaps, ReadsTheEndOfALongFile) {
  const FakeProc proc;
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "1000 10 name_" + std::to_string(i) + "\n";
  proc.Write("77/root/tmp/perf-5.map", text + "2000 10 last\n");
  PerfMaps maps = proc.Maps(500);
  const auto map = maps.Get(FakeProc::Process());
  ASSERT_NE(map, nullptr);
  EXPECT_EQ(NameAt(*map, 0x2000), "last");
  EXPECT_EQ(NameAt(*map, 0x1000), "name_999");
}

TEST(PerfMaps, KeepsNoMoreThanItsBound) {
  const FakeProc proc;
  proc.Write("77/root/tmp/perf-5.map", "1000 10 name\n");
  PerfMaps::Options options;
  options.proc = proc.root();
  options.max_processes = 3;
  PerfMaps maps(options);
  for (uint64_t i = 0; i < 10; ++i) maps.Get({static_cast<uint32_t>(1000 + i), 0});
  maps.Get(FakeProc::Process());
  EXPECT_GT(maps.kept_bytes(), 0U);
  for (uint64_t i = 0; i < 10; ++i) maps.Get({static_cast<uint32_t>(1000 + i), 0});
  EXPECT_EQ(maps.kept_bytes(), 0U);
}

TEST(PerfMaps, TellsStackAndHeapFromOtherMemory) {
  const FakeProc proc;
  const PerfMaps maps = proc.Maps();
  const std::vector<std::string> kinds =
      maps.MappingKinds(FakeProc::Process(), {0x7ffd00000010, 0x10010, 0x7f0000000010, 0x20000});
  EXPECT_EQ(kinds, (std::vector<std::string>{"[stack]", "[heap]", "[anon]", "[anon]"}));
  EXPECT_EQ(maps.MappingKinds({78, 0}, {0x10010}).at(0), "[anon]");
}

}  // namespace
}  // namespace hotpath
