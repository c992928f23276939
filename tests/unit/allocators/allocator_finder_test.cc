// Real processes with Debian's allocators preloaded, linked in, and tampered with.
#include "daemon/allocators/allocator_finder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

namespace hotpath {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::string kLibraries = "/usr/lib/x86_64-linux-gnu/";

// A `cat` with `environment`, until the end of the test. It has passed a line on, so its libraries
// are there, and waits for the next.
class Running {
 public:
  explicit Running(std::vector<std::string> environment) {
    int to_child[2], from_child[2];
    if (pipe(to_child) != 0 || pipe(from_child) != 0) abort();
    pid_ = fork();
    if (pid_ == 0) {
      dup2(to_child[0], STDIN_FILENO);
      dup2(from_child[1], STDOUT_FILENO);
      for (const int fd : {to_child[0], to_child[1], from_child[0], from_child[1]}) close(fd);
      std::vector<char*> variables;
      for (std::string& variable : environment) variables.push_back(variable.data());
      variables.push_back(nullptr);
      std::string name = "/usr/bin/cat";
      char* arguments[] = {name.data(), nullptr};
      execve(name.c_str(), arguments, variables.data());
      _exit(127);
    }
    close(to_child[0]);
    close(from_child[1]);
    input_ = to_child[1];
    output_ = from_child[0];
    char byte = '\n';  // What comes back proves that main() runs.
    started_ = write(input_, &byte, 1) == 1 && read(output_, &byte, 1) == 1;
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    close(input_);
    close(output_);
  }
  uint32_t pid() const { return static_cast<uint32_t>(pid_); }
  bool started() const { return started_; }

 private:
  pid_t pid_ = -1;
  int input_ = -1, output_ = -1;
  bool started_ = false;
};

const ProbedFunction& Function(const ProcessAllocator& allocator, const std::string& name) {
  const auto found = std::ranges::find(allocator.placement.functions, name, &ProbedFunction::name);
  EXPECT_NE(found, allocator.placement.functions.end()) << name;
  return *found;
}

class AllocatorFinderTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "map_files needs a capability";
  }
  FileWorker worker_;
  AllocatorFinder finder_{worker_};
};

TEST_F(AllocatorFinderTest, APlainProcessUsesItsCLibrary) {
  const Running cat({});
  ASSERT_TRUE(cat.started());
  const auto found = finder_.Find(cat.pid());
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_FALSE(found->empty());
  EXPECT_TRUE(found->front().live);
  EXPECT_THAT(found->front().placement.allocator, StartsWith("glibc"));
  EXPECT_THAT(found->front().path, HasSubstr("libc.so.6"));
  for (const char* name : {"malloc", "calloc", "realloc", "free"}) {
    const auto same =
        finder_.VerifyMapped(cat.pid(), found->front(), Function(found->front(), name));
    EXPECT_TRUE(same) << same.error().message;
  }
}

TEST_F(AllocatorFinderTest, APreloadedAllocatorIsTheLiveOne) {
  for (const char* library : {"libjemalloc.so.2", "libtcmalloc_minimal.so.4", "libmimalloc.so.2"}) {
    const Running cat({"LD_PRELOAD=" + kLibraries + library});
    ASSERT_TRUE(cat.started());
    const auto found = finder_.Find(cat.pid());
    ASSERT_TRUE(found) << found.error().message;
    // What stands before libc in the order exports malloc, and so libc's own is not used.
    ASSERT_GE(found->size(), 2U) << library;
    EXPECT_TRUE(found->front().live);
    EXPECT_THAT(found->front().path, HasSubstr(std::string(library).substr(0, 8)));
    for (const ProcessAllocator& allocator : *found) {
      if (!allocator.placement.allocator.starts_with("glibc")) continue;
      EXPECT_FALSE(allocator.live) << allocator.path;
      EXPECT_THAT(allocator.why, HasSubstr("malloc is bound to"));
    }
    EXPECT_TRUE(
        finder_.VerifyMapped(cat.pid(), found->front(), Function(found->front(), "malloc")));
  }
}

TEST_F(AllocatorFinderTest, WhoMustNotBeProbedIsRefused) {
  const auto own = finder_.Find(static_cast<uint32_t>(getpid()));
  ASSERT_FALSE(own);
  EXPECT_EQ(own.error().code, ErrorCode::kUnsupported);

  const Running opted_out({"A=1", "HOTPATH_NO_ALLOC=1"});
  ASSERT_TRUE(opted_out.started());
  const auto refused = finder_.Find(opted_out.pid());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refused.error().message, HasSubstr("HOTPATH_NO_ALLOC=1"));
  const Running not_opted_out({"HOTPATH_NO_ALLOC=10"});
  ASSERT_TRUE(not_opted_out.started());
  EXPECT_TRUE(finder_.Find(not_opted_out.pid()));

  const auto nobody = finder_.Find(UINT32_MAX / 4);
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code, ErrorCode::kNotFound);
}

TEST_F(AllocatorFinderTest, ATracedProcessIsRefused) {
  const Running cat({});
  ASSERT_TRUE(cat.started());
  if (ptrace(PTRACE_SEIZE, cat.pid(), nullptr, nullptr) != 0) GTEST_SKIP() << "no ptrace here";
  const auto refused = finder_.Find(cat.pid());
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("traces it"));
}

TEST_F(AllocatorFinderTest, ABytePatchedInMemoryIsSeen) {
  const Running cat({});
  ASSERT_TRUE(cat.started());
  const auto found = finder_.Find(cat.pid());
  ASSERT_TRUE(found) << found.error().message;
  const ProbedFunction& malloc = Function(found->front(), "malloc");
  const ProbedFunction& realloc = Function(found->front(), "realloc");
  // As a debugger does: through /proc/PID/mem into the process's own copy of the page.
  uint64_t address = 0;
  const auto maps = ReadProcFile("/proc/" + std::to_string(cat.pid()) + "/maps", 1 << 20);
  ASSERT_TRUE(maps);
  for (const Mapping& mapping : ParseMaps(*maps)) {
    if (mapping.executable && mapping.file == found->front().file) {
      address = mapping.begin + malloc.site.offset - mapping.offset;
    }
  }
  std::fstream memory("/proc/" + std::to_string(cat.pid()) + "/mem",
                      std::ios::in | std::ios::out | std::ios::binary);
  memory.seekp(static_cast<std::streamoff>(address));
  memory.put('\xcc');
  memory.flush();
  if (!memory) GTEST_SKIP() << "no writing to /proc/PID/mem here";
  const auto differs = finder_.VerifyMapped(cat.pid(), found->front(), malloc);
  ASSERT_FALSE(differs);
  EXPECT_EQ(differs.error().code, ErrorCode::kMalformed);
  EXPECT_THAT(differs.error().message, HasSubstr("0xcc"));
  EXPECT_TRUE(finder_.VerifyMapped(cat.pid(), found->front(), realloc));
}

TEST(ParseMaps, ReadsTheKernelsLines) {
  const auto maps = ParseMaps(
      "7f00-8f00 r-xp 00001000 08:01 1234                       /usr/lib/a b.so (deleted)\n"
      "nonsense\n"
      "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n"
      "1000-2000 rw-p 00000000 00:00 0 \n");
  ASSERT_EQ(maps.size(), 3U);
  EXPECT_EQ(maps[0].begin, 0x7f00U);
  EXPECT_EQ(maps[0].end, 0x8f00U);
  EXPECT_EQ(maps[0].offset, 0x1000U);
  EXPECT_TRUE(maps[0].executable);
  EXPECT_EQ(maps[0].file, (MapFile{8U << 20 | 1, 1234}));
  EXPECT_EQ(maps[0].path, "/usr/lib/a b.so (deleted)");
  EXPECT_EQ(maps[1].path, "[vsyscall]");
  EXPECT_EQ(maps[2].path, "");
  EXPECT_FALSE(maps[2].executable);
}

}  // namespace
}  // namespace hotpath
