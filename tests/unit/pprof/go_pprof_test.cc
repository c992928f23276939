// Go's own pprof reads what we write: the oracle for encoding, labels, mappings and inlining.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "exporters/pprof/from_window.h"
#include "fake_symbolizer.h"
#include "small_window.h"

namespace hotpath::pprof {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kGoPprof = "/usr/lib/go-1.19/pkg/tool/linux_amd64/pprof";

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class GoPprofTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "go_pprof_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    if (!std::filesystem::exists(kGoPprof)) {
      GTEST_SKIP() << "Go's pprof is not installed (package golang-1.19-go)";
    }
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const char* name, const Window& window,
                    const std::vector<LabelMatch>& matches = {}) {
    FakeSymbolizer symbolizer;
    const Profile profile =
        FromWindow(window, symbolizer,
                   {.host = "node1", .kernel = "6.1.0-37-amd64", .version = "0.1.0"}, matches);
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << EncodeGzip(profile);
    return path;
  }

  // stdout and stderr of pprof.
  std::string Pprof(const std::string& arguments) {
    const std::string command = "TZ=UTC PPROF_TMPDIR='" + folder_.string() + "' HOME='" +
                                folder_.string() + "' " + kGoPprof + " " + arguments + " 2>&1";
    FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return {};
    std::string text;
    std::array<char, 4096> buffer;
    while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
      text.append(buffer.data(), count);
    }
    EXPECT_EQ(::pclose(pipe), 0) << command << '\n' << text;
    return text;
  }

  std::filesystem::path folder_;
};

TEST_F(GoPprofTest, TopShowsCpuTimeByShortNamesAndTheHostAsFile) {
  const std::string text = Pprof("-top " + Write("a.pb.gz", *SmallWindow()));
  EXPECT_THAT(text, HasSubstr("File: [host:node1]"));
  EXPECT_THAT(text, HasSubstr("host=node1 kernel=6.1.0-37-amd64 hz=100 lost=3 complete=0.9000"));
  EXPECT_THAT(text, HasSubstr("Type: cpu"));
  EXPECT_THAT(text, HasSubstr("Duration: 10s, Total samples = 130ms"));
  EXPECT_THAT(text, HasSubstr("60ms 46.15% 46.15%       60ms 46.15%  f2::call257 (inline)"));
  EXPECT_THAT(text, HasSubstr("[lost: throttled]"));
  EXPECT_THAT(text, Not(HasSubstr("symboliz")));
}

TEST_F(GoPprofTest, TheOnlyProcessIsTheFile) {
  const std::string text = Pprof("-top " + Write("a.pb.gz", *SmallWindow(), {{"pid", "41"}}));
  EXPECT_THAT(text, HasSubstr("File: one"));
  EXPECT_THAT(text, HasSubstr("Build ID: ab01"));
}

TEST_F(GoPprofTest, LabelsCanBeListedFocusedOnAndMadeRoots) {
  const std::string path = Write("a.pb.gz", *SmallWindow());
  const std::string tags = Pprof("-tags " + path);
  EXPECT_THAT(tags, HasSubstr("redis.service"));
  EXPECT_THAT(tags, HasSubstr("no unwind rule"));
  EXPECT_THAT(Pprof("-top -tagfocus=pid=41 " + path), HasSubstr("90ms"));
  EXPECT_THAT(Pprof("-top -tagfocus=pid=50:60 " + path), HasSubstr("jit52"));
  EXPECT_THAT(Pprof("-top -tagfocus=comm=C2 " + path), Not(HasSubstr("call257")));
  EXPECT_THAT(Pprof("-top -cum -tagroot=process,comm " + path), HasSubstr("redis-server"));
}

TEST_F(GoPprofTest, AProfileMinusItselfIsNothing) {
  const std::string path = Write("a.pb.gz", *SmallWindow());
  EXPECT_THAT(Pprof("-top -base=" + path + " " + path),
              HasSubstr("Showing nodes accounting for 0"));
}

// Set HOTPATH_UPDATE_GOLDEN=1 to write the golden file anew, then read its difference.
TEST_F(GoPprofTest, TheRawListingIsTheGoldenOne) {
  const std::filesystem::path golden =
      std::filesystem::path(HOTPATH_SOURCE_DIR) / "tests/unit/pprof/golden/small_window.raw.txt";
  const std::string text = Pprof("-raw " + Write("a.pb.gz", *SmallWindow()));
  if (std::getenv("HOTPATH_UPDATE_GOLDEN") != nullptr) std::ofstream(golden) << text;
  EXPECT_EQ(text, ReadFile(golden));
}

}  // namespace
}  // namespace hotpath::pprof
