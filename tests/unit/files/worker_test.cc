// The file worker with its real child, and with children that hang, die and lie.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "daemon/files/file_worker.h"
#include "daemon/files/sandbox.h"
#include "lying_worker.h"
#include "made_files.h"

namespace hotpath {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

const std::string kSelf = fs::read_symlink("/proc/self/exe").string();

// A function whose place in the source is known.
[[gnu::noinline]] int PlaceInThisFile(int number) { return number * 7 + 1; }
constexpr int kItsLine = __LINE__ - 1;

// Where PlaceInThisFile() is in the ELF file of this program.
uint64_t ItsAddress() {
  uint64_t bias = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* found) {
        *static_cast<uint64_t*>(found) = info->dlpi_addr;
        return 1;  // The first is the program itself.
      },
      &bias);
  return reinterpret_cast<uint64_t>(&PlaceInThisFile) - bias;
}

std::set<pid_t> Children() {
  std::set<pid_t> children;
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream list(task.path() / "children");
    for (pid_t pid = 0; list >> pid;) children.insert(pid);
  }
  return children;
}

std::string FieldOfStatus(pid_t pid, const std::string& field) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":\t")) return line.substr(field.size() + 2);
  }
  return {};
}

TEST(FileWorker, TheCLibraryComesBackAsTableSymbolsAndFacts) {
  FileWorker worker;
  const Fd libc = OpenForReading(LibcPath());
  const auto index = worker.Index(libc.get(), -1);
  ASSERT_TRUE(index) << index.error().message;
  EXPECT_EQ(index->build_id.size(), 40U);
  EXPECT_EQ(index->table_source, "eh_frame");
  EXPECT_EQ(index->table_failure, "");
  EXPECT_EQ(index->symbol_failure, "");
  EXPECT_GT(index->row_count, 10'000U);
  EXPECT_GT(index->rules.size(), 100U);
  EXPECT_EQ(index->info.state, HP_TABLE_READY);
  EXPECT_GT(index->symbol_bytes, 0U);
  EXPECT_TRUE(std::ranges::any_of(index->segments, &ElfSegment::executable));

  struct stat words{};
  ASSERT_EQ(fstat(index->words.get(), &words), 0);
  EXPECT_EQ(static_cast<size_t>(words.st_size), index->word_count * sizeof(uint32_t));
  constexpr int kAll = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  EXPECT_EQ(fcntl(index->words.get(), F_GET_SEALS) & kAll, kAll);
  EXPECT_EQ(fcntl(index->symbols.get(), F_GET_SEALS) & kAll, kAll);
}

TEST(FileWorker, WhatComesBackIsWhatTheTableBuilderMakesInThisProcess) {
  const Fd libc = OpenForReading(LibcPath());
  const auto elf = ElfFile::Open(libc.get());
  ASSERT_TRUE(elf);
  const auto table = UnwindTable::FromElf(*elf);
  ASSERT_TRUE(table);
  const UnwindTable::Words expected = table->ToWords();

  FileWorker worker;
  const auto index = worker.Index(libc.get(), -1, /*want_symbols=*/false);
  ASSERT_TRUE(index) << index.error().message;
  std::vector<uint32_t> words(index->word_count);
  ASSERT_TRUE(ReadAll(index->words.get(),
                      {reinterpret_cast<uint8_t*>(words.data()), words.size() * sizeof(uint32_t)}));
  EXPECT_EQ(words, expected.words);
  EXPECT_EQ(index->row_count, table->rows().size());
  EXPECT_EQ(index->rules.size(), table->rules().size());
  EXPECT_EQ(index->info.rows_at, expected.info.rows_at);
  EXPECT_EQ(index->symbol_bytes, 0U);
}

TEST(FileWorker, LinesAreReadInTheBoxAndTheReaderIsKept) {
  FileWorker worker;
  const Fd self = OpenForReading(kSelf);
  const auto facts = worker.Describe(self.get());
  ASSERT_TRUE(facts);
  if (!facts->has_debug_info) GTEST_SKIP() << "this program is built without -g";
  ASSERT_EQ(PlaceInThisFile(1), 8);
  for (int round = 0; round < 3; ++round) {
    const Fd again = OpenForReading(kSelf);
    const auto lines = worker.Lines(again.get(), -1, std::array<uint64_t, 2>{ItsAddress(), 1});
    ASSERT_TRUE(lines) << lines.error().message;
    ASSERT_EQ(lines->size(), 2U);
    ASSERT_FALSE((*lines)[0].empty());
    EXPECT_NE((*lines)[0].back().function.find("PlaceInThisFile"), std::string::npos);
    EXPECT_EQ(fs::path((*lines)[0].back().file).filename(), "worker_test.cc");
    EXPECT_EQ((*lines)[0].back().line, kItsLine);
    EXPECT_TRUE((*lines)[1].empty());
  }
  EXPECT_EQ(worker.children_died(), 0U);
  EXPECT_EQ(worker.children_started(), 2U);
}

TEST(FileWorker, LinesOfAFileWithoutDebugInfoAreAnError) {
  FileWorker worker;
  const Fd libc = OpenForReading(LibcPath());
  const auto facts = worker.Describe(libc.get());
  ASSERT_TRUE(facts);
  if (facts->has_debug_info) GTEST_SKIP() << "this C library has its debug information inside";
  const auto lines = worker.Lines(libc.get(), -1, std::array<uint64_t, 1>{0x30000});
  ASSERT_FALSE(lines);
  EXPECT_EQ(lines.error().code, ErrorCode::kNotFound) << lines.error().message;
  EXPECT_EQ(worker.children_died(), 0U);
}

TEST(FileWorker, DescribeTellsTheBuildIdWithoutATable) {
  FileWorker worker;
  const Fd libc = OpenForReading(LibcPath());
  const auto facts = worker.Describe(libc.get());
  ASSERT_TRUE(facts) << facts.error().message;
  EXPECT_EQ(facts->build_id.size(), 40U);
  EXPECT_FALSE(facts->segments.empty());
  EXPECT_EQ(facts->row_count, 0U);
  const Fd self = OpenForReading(kSelf);
  const auto own = worker.Describe(self.get());
  ASSERT_TRUE(own) << own.error().message;
  EXPECT_EQ(worker.children_started(), 1U);
}

TEST(FileWorker, AFileThatIsNoElfIsAnErrorAndTheChildLives) {
  FileWorker worker;
  const TemporaryFolder folder;
  const Fd text = OpenForReading(folder.Write("text", std::string(10'000, 'x')));
  const Fd empty = OpenForReading(folder.Write("empty", ""));
  for (const Fd* fd : {&text, &empty}) {
    const auto index = worker.Index(fd->get(), -1);
    ASSERT_FALSE(index);
    EXPECT_EQ(index.error().code, ErrorCode::kMalformed) << index.error().message;
  }
  const Fd libc = OpenForReading(LibcPath());
  EXPECT_TRUE(worker.Index(libc.get(), -1));
  EXPECT_EQ(worker.children_started(), 1U);
  EXPECT_EQ(worker.children_died(), 0U);
}

TEST(FileWorker, AFileWithoutRulesHasNoTableAndIsNoError) {
  FileWorker worker;
  const TemporaryFolder folder;
  const Fd bare = OpenForReading(folder.Write("bare", BareElf()));
  const auto index = worker.Index(bare.get(), -1);
  ASSERT_TRUE(index) << index.error().message;
  EXPECT_EQ(index->table_source, "none");
  EXPECT_EQ(index->word_count, 0U);
}

TEST(FileWorker, TheRealChildIsBoxedIn) {
  FileWorker worker;
  const std::set<pid_t> before = Children();
  const Fd libc = OpenForReading(LibcPath());
  ASSERT_TRUE(worker.Describe(libc.get()));
  std::set<pid_t> after = Children();
  for (const pid_t pid : before) after.erase(pid);
  if (after.empty()) GTEST_SKIP() << "this kernel does not list children";
  ASSERT_EQ(after.size(), 1U);
  const pid_t child = *after.begin();
  EXPECT_EQ(FieldOfStatus(child, "Seccomp"), "2");
  EXPECT_EQ(FieldOfStatus(child, "NoNewPrivs"), "1");
  EXPECT_EQ(FieldOfStatus(child, "CapPrm"), "0000000000000000");
  std::error_code error;
  std::set<std::string> descriptors;
  for (const auto& entry :
       fs::directory_iterator("/proc/" + std::to_string(child) + "/fd", error)) {
    descriptors.insert(entry.path().filename().string());
  }
  if (!error) {
    EXPECT_EQ(descriptors, (std::set<std::string>{"0", "1", "2", "3"}));
  }
}

TEST(FileWorker, AFileThatNeedsMoreMemoryThanTheLimitIsAnErrorAndTheNextOneWorks) {
  if (kSanitizedBuild) GTEST_SKIP() << "sanitizers reserve terabytes";
  FileWorker worker({.memory_bytes = uint64_t{256} << 20});
  const Fd huge = ElfWithHugeUnwindSection(uint64_t{900} << 20);
  const auto index = worker.Index(huge.get(), -1);
  // Refused as a whole, or without its table.
  if (index) {
    EXPECT_NE(index->table_failure, "");
  } else {
    EXPECT_TRUE(index.error().code == ErrorCode::kTooLarge ||
                index.error().code == ErrorCode::kUnavailable)
        << index.error().message;
  }
  const Fd libc = OpenForReading(LibcPath());
  const auto next = worker.Index(libc.get(), -1);
  EXPECT_TRUE(next) << next.error().message;
}

TEST(FileWorker, WithLessMemoryThanAChildNeedsThereIsAnErrorAndNoHang) {
  if (kSanitizedBuild) GTEST_SKIP() << "sanitizers reserve terabytes";
  FileWorker worker({.memory_bytes = 1 << 20});
  const Fd libc = OpenForReading(LibcPath());
  EXPECT_FALSE(worker.Index(libc.get(), -1));
}

TEST(FileWorker, AChildThatTakesTooLongIsEndedAndTheFileIsToBlame) {
  const TemporaryFolder folder;
  FileWorker worker({.index_timeout = milliseconds(50)}, folder.Script("hang", "exec sleep 1000"));
  const std::set<pid_t> before = Children();
  const Fd libc = OpenForReading(LibcPath());
  const auto index = worker.Index(libc.get(), -1);
  ASSERT_FALSE(index);
  EXPECT_EQ(index.error().code, ErrorCode::kTimeout) << index.error().message;
  EXPECT_EQ(worker.children_died(), 1U);
  EXPECT_EQ(Children(), before);  // Killed and reaped.
}

TEST(FileWorker, ADeadChildsFateIsInTheMessage) {
  const TemporaryFolder folder;
  const Fd libc = OpenForReading(LibcPath());
  FileWorker killed({}, folder.Script("segv", "ulimit -c 0; kill -SEGV $$"));
  const auto index = killed.Index(libc.get(), -1);
  ASSERT_FALSE(index);
  EXPECT_EQ(index.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(index.error().message.find("signal 11"), std::string::npos) << index.error().message;

  FileWorker left({}, folder.Script("exit", "exit 7"));
  const auto lines = left.Lines(libc.get(), -1, std::array<uint64_t, 1>{1});
  ASSERT_FALSE(lines);
  EXPECT_NE(lines.error().message.find("status 7"), std::string::npos) << lines.error().message;
  EXPECT_EQ(left.children_died(), 1U);
}

TEST(FileWorker, AProgramThatCannotBeStartedIsNotTheFilesFault) {
  FileWorker worker({}, "/nonexistent/hotpathd");
  const Fd libc = OpenForReading(LibcPath());
  const auto index = worker.Index(libc.get(), -1);
  ASSERT_FALSE(index);
  EXPECT_EQ(index.error().code, ErrorCode::kSystem);
  EXPECT_NE(index.error().message.find("/nonexistent/hotpathd"), std::string::npos);
}

TEST(FileWorker, AfterAChildWasKilledTheNextRequestStartsAnother) {
  FileWorker worker;
  const Fd libc = OpenForReading(LibcPath());
  const std::set<pid_t> before = Children();
  ASSERT_TRUE(worker.Describe(libc.get()));
  std::set<pid_t> after = Children();
  for (const pid_t pid : before) after.erase(pid);
  if (after.empty()) GTEST_SKIP() << "this kernel does not list children";
  ASSERT_EQ(kill(*after.begin(), SIGKILL), 0);
  const auto blamed = worker.Describe(libc.get());
  ASSERT_FALSE(blamed);
  EXPECT_EQ(blamed.error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(worker.Describe(libc.get()));
  EXPECT_EQ(worker.children_started(), 2U);
  EXPECT_EQ(worker.children_died(), 1U);
}

TEST(FileWorker, AChildThatLiesIsEndedAndNotBelieved) {
  const TemporaryFolder folder;
  const Fd libc = OpenForReading(LibcPath());
  for (const std::string lie : {"size", "short", "rest"}) {
    FileWorker worker({}, folder.Script(lie, "exec " + kSelf + " " + kLyingWorker + " " + lie));
    const auto index = worker.Index(libc.get(), -1);
    ASSERT_FALSE(index) << lie;
    EXPECT_EQ(index.error().code, ErrorCode::kMalformed) << lie << ": " << index.error().message;
    EXPECT_EQ(worker.children_died(), 1U) << lie;
  }
  FileWorker worker({}, folder.Script("text", "exec " + kSelf + " " + kLyingWorker + " text"));
  const auto index = worker.Index(libc.get(), -1);
  ASSERT_FALSE(index);
  EXPECT_EQ(index.error().code, ErrorCode::kMalformed);
  EXPECT_EQ(index.error().message.find('\n'), std::string::npos);
}

TEST(FileWorker, ManyThreadsShareTwoChildren) {
  FileWorker worker;
  const Fd libc = OpenForReading(LibcPath());
  const Fd self = OpenForReading(kSelf);
  std::vector<std::string> failures(4);
  std::vector<std::thread> threads;
  for (std::string& failure : failures) {
    threads.emplace_back([&worker, &failure, &libc, &self] {
      for (int round = 0; round < 3; ++round) {
        const auto facts = worker.Describe(round % 2 == 0 ? libc.get() : self.get());
        if (!facts) failure = facts.error().message;
        (void)worker.Lines(self.get(), -1, std::array<uint64_t, 1>{0x1000});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& failure : failures) EXPECT_EQ(failure, "");
  EXPECT_EQ(worker.children_started(), 2U);
}

TEST(FileWorker, AFileTruncatedWhileItIsReadIsAnErrorAtMost) {
  const TemporaryFolder folder;
  const std::string path = folder / "libc";
  FileWorker worker;
  for (const uintmax_t bytes : {40U, 64U, 1'000U, 100'000U, 1'000'000U}) {
    fs::copy_file(LibcPath(), path, fs::copy_options::overwrite_existing);
    fs::resize_file(path, bytes);
    const Fd fd = OpenForReading(path);
    const auto index = worker.Index(fd.get(), -1);
    if (!index) {
      EXPECT_NE(index.error().code, ErrorCode::kUnavailable) << index.error().message;
    }
  }
  EXPECT_EQ(worker.children_died(), 0U);
}

}  // namespace
}  // namespace hotpath
