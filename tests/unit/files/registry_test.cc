// FileRegistry with a fake sink: from events to tables and facts.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "daemon/files/file_registry.h"
#include "mapped_file.h"

namespace hotpath {
namespace {

namespace fs = std::filesystem;

class FakeSink : public TableSink {
 public:
  Result<void> Load(FileId id, const FileIndex& index) override {
    if (full) return Fail(ErrorCode::kTooLarge, "the tables' memory is used up");
    EXPECT_TRUE(index.words.valid());
    rows[id.value] = index.row_count;
    ++loads;
    return {};
  }
  void SetState(FileId id, hp_table_state state) override { states[id.value] = state; }
  bool Wants(FileId id) const override { return evicted.contains(id.value); }

  std::set<uint32_t> evicted;
  std::map<uint32_t, uint64_t> rows;
  std::map<uint32_t, hp_table_state> states;
  int loads = 0;
  bool full = false;
};

class RegistryTest : public testing::Test {
 protected:
  FileRegistry::Options Options() {
    FileRegistry::Options options;
    options.proc = process_.proc();
    options.now = [this] { return now_; };
    return options;
  }
  NewFile Event(uint32_t id, const std::string& path) {
    const MappedFile mapped = process_.Map(path, path);
    return {FileId{id}, mapped.key, mapped.vma_start, mapped.vma_end, mapped.pid, mapped.path};
  }
  std::string CopyOfLibc(const std::string& name) {
    fs::copy_file(LibcPath(), process_.folder() / name);
    return process_.folder() / name;
  }
  // A program in the child's place that dies on every file.
  std::string Killer() { return process_.folder().Script("killer", "ulimit -c 0; kill -SEGV $$"); }

  FakeProcess process_;
  FakeSink sink_;
  FileWorker worker_;
  std::chrono::steady_clock::time_point now_ = std::chrono::steady_clock::now();
};

TEST_F(RegistryTest, AFileIsIndexedOnceAndItsTableLoaded) {
  FileRegistry registry(Options(), &worker_, &sink_);
  const NewFile event = Event(5, LibcPath());
  EXPECT_EQ(registry.Find(FileId{5}), nullptr);
  ASSERT_TRUE(registry.Add(event));
  ASSERT_TRUE(registry.Add(event));
  EXPECT_EQ(sink_.loads, 1);
  const auto facts = registry.Find(FileId{5});
  ASSERT_NE(facts, nullptr);
  EXPECT_EQ(facts->path, LibcPath());
  EXPECT_EQ(facts->build_id.size(), 40U);
  EXPECT_EQ(facts->table_source, "eh_frame");
  EXPECT_EQ(facts->row_count, sink_.rows[5]);
  EXPECT_EQ(facts->failure, "");
  EXPECT_NE(facts->symbols, nullptr);
  EXPECT_NE(facts->binary, nullptr);
  EXPECT_EQ(registry.All().size(), 1U);
  EXPECT_EQ(registry.counters().files_seen, 1U);
  EXPECT_EQ(registry.counters().files_indexed, 1U);
  EXPECT_GT(registry.counters().symbol_bytes, 0U);
}

TEST_F(RegistryTest, AFileWhoseTableWasEvictedIsLoadedAgainAndALateSightingIsNot) {
  FileRegistry registry(Options(), &worker_, &sink_);
  const NewFile libc = Event(5, LibcPath());
  ASSERT_TRUE(registry.Add(libc));
  ASSERT_TRUE(registry.Add(libc));
  EXPECT_EQ(sink_.loads, 1);
  sink_.evicted.insert(5);
  ASSERT_TRUE(registry.Add(libc));
  EXPECT_EQ(sink_.loads, 2);
}

TEST_F(RegistryTest, OffsetsBecomeAddressesWithinSegmentsOnly) {
  FileFacts facts;
  facts.segments = {{0x1000, 0x401000, 0x500, 0x800, true}};
  EXPECT_EQ(facts.AddressOfOffset(0x1000), 0x401000U);
  EXPECT_EQ(facts.AddressOfOffset(0x14ff), 0x4014ffU);
  EXPECT_EQ(facts.AddressOfOffset(0x1500), std::nullopt);
  EXPECT_EQ(facts.AddressOfOffset(0xfff), std::nullopt);
}

TEST_F(RegistryTest, TwoFilesOfOneBuildShareTheirSymbols) {
  FileRegistry registry(Options(), &worker_, &sink_);
  ASSERT_TRUE(registry.Add(Event(5, CopyOfLibc("a"))));
  ASSERT_TRUE(registry.Add(Event(6, CopyOfLibc("b"))));
  EXPECT_EQ(registry.counters().cache_hits, 1U);
  EXPECT_EQ(registry.Find(FileId{5})->symbols, registry.Find(FileId{6})->symbols);
  EXPECT_EQ(sink_.rows[5], sink_.rows[6]);
}

TEST_F(RegistryTest, SymbolsOutliveTheDaemonInTheCacheFolder) {
  FileRegistry::Options options = Options();
  options.cache_dir = process_.folder() / "cache";
  const std::string path = CopyOfLibc("a");
  FileRegistry(options, &worker_, &sink_).Add(Event(5, path)).value();
  std::vector<fs::path> stored{fs::directory_iterator(options.cache_dir), {}};
  ASSERT_EQ(stored.size(), 1U);
  EXPECT_EQ(stored[0].extension(), ".sym");

  FileRegistry second(options, &worker_, &sink_);
  ASSERT_TRUE(second.Add(Event(5, path)));
  EXPECT_EQ(second.counters().cache_hits, 1U);
  EXPECT_EQ(second.counters().symbol_bytes, 0U);
  EXPECT_NE(second.Find(FileId{5})->symbols, nullptr);

  const std::string damaged(3, 'd');
  process_.folder().Write("cache/" + stored[0].filename().string(), damaged);
  FileRegistry third(options, &worker_, &sink_);
  ASSERT_TRUE(third.Add(Event(5, path)));
  EXPECT_EQ(third.counters().cache_hits, 0U);
  EXPECT_NE(third.Find(FileId{5})->symbols, nullptr);
  EXPECT_NE(fs::file_size(stored[0]), damaged.size());
}

TEST_F(RegistryTest, AFileThatIsNoElfFailsForGood) {
  FileRegistry registry(Options(), &worker_, &sink_);
  const NewFile event = Event(7, process_.folder().Write("jit.bin", std::string(5'000, 'j')));
  const auto added = registry.Add(event);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, ErrorCode::kMalformed);
  EXPECT_EQ(sink_.states[7], HP_TABLE_FAILED);
  ASSERT_NE(registry.Find(FileId{7}), nullptr);
  EXPECT_NE(registry.Find(FileId{7})->failure, "");
  now_ += std::chrono::hours(100);
  EXPECT_FALSE(registry.Add(event));
  EXPECT_EQ(registry.counters().files_malformed, 1U);
}

TEST_F(RegistryTest, AFileWithoutRulesIsWalkedByFramePointers) {
  FileRegistry registry(Options(), &worker_, &sink_);
  ASSERT_TRUE(registry.Add(Event(8, process_.folder().Write("bare", BareElf()))));
  EXPECT_EQ(sink_.states[8], HP_TABLE_FRAME_POINTER);
  EXPECT_EQ(sink_.loads, 0);
  EXPECT_EQ(registry.Find(FileId{8})->table_source, "none");
}

TEST_F(RegistryTest, AFileThatKillsTheWorkerIsTriedTwiceAndThenNotForAnHour) {
  FileWorker dying({}, Killer());
  FileRegistry registry(Options(), &dying, &sink_);
  const NewFile event = Event(9, LibcPath());
  const auto added = registry.Add(event);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(dying.children_died(), 2U);
  EXPECT_EQ(sink_.states[9], HP_TABLE_FAILED);
  EXPECT_NE(registry.Find(FileId{9})->failure.find("signal 11"), std::string::npos);

  now_ += std::chrono::minutes(59);
  EXPECT_FALSE(registry.Add(event));
  EXPECT_EQ(dying.children_died(), 2U);
  now_ += std::chrono::minutes(2);
  EXPECT_FALSE(registry.Add(event));
  EXPECT_EQ(dying.children_died(), 4U);
  EXPECT_EQ(registry.counters().files_killed_worker, 2U);
}

TEST_F(RegistryTest, AnotherFileAtThePathIsRefusedAndTheRightOneTakenLater) {
  FileRegistry registry(Options(), &worker_, &sink_);
  NewFile event = Event(10, LibcPath());
  const NewFile right = event;
  event.key.inode += 1'000'000;
  EXPECT_FALSE(registry.Add(event));
  EXPECT_EQ(registry.counters().identity_mismatches, 1U);
  EXPECT_EQ(registry.counters().files_unopenable, 1U);
  EXPECT_TRUE(sink_.states.empty());
  EXPECT_EQ(registry.Find(FileId{10}), nullptr);
  EXPECT_TRUE(registry.Add(right));
}

TEST_F(RegistryTest, AFileNobodyCanOpenYetIsTriedWithItsNextProcess) {
  FileRegistry registry(Options(), &worker_, &sink_);
  NewFile event = Event(11, LibcPath());
  const NewFile living = event;
  event.pid = 4'000'000;
  event.path = "/no/such/file";
  EXPECT_FALSE(registry.Add(event));
  EXPECT_FALSE(registry.Add(event));
  EXPECT_EQ(registry.counters().files_unopenable, 2U);
  EXPECT_TRUE(sink_.states.empty());
  EXPECT_TRUE(registry.Add(living));
  EXPECT_EQ(registry.counters().files_seen, 1U);
}

TEST_F(RegistryTest, AnIdGivenToAnotherFileForgetsTheFirst) {
  FileRegistry registry(Options(), &worker_, &sink_);
  ASSERT_TRUE(registry.Add(Event(12, LibcPath())));
  ASSERT_TRUE(registry.Add(Event(12, process_.folder().Write("bare", BareElf()))));
  EXPECT_EQ(registry.Find(FileId{12})->table_source, "none");
  EXPECT_EQ(registry.counters().files_seen, 2U);
}

TEST_F(RegistryTest, ATableThatFindsNoRoomLeavesTheNames) {
  sink_.full = true;
  FileRegistry registry(Options(), &worker_, &sink_);
  EXPECT_FALSE(registry.Add(Event(13, LibcPath())));
  EXPECT_EQ(sink_.states[13], HP_TABLE_FAILED);
  const auto facts = registry.Find(FileId{13});
  ASSERT_NE(facts, nullptr);
  EXPECT_NE(facts->failure, "");
  EXPECT_NE(facts->symbols, nullptr);
}

TEST_F(RegistryTest, DebugFilesAreLookedForWithTheFactsOfTheFile) {
  FileRegistry::Options options = Options();
  std::string asked;
  options.find_debug = [&](const FileIndex& facts, const std::string& path, FileWorker&) {
    asked = path + " " + facts.build_id;
    return DebugFiles{OpenForReading(LibcPath()), Fd()};
  };
  FileRegistry registry(options, &worker_, &sink_);
  ASSERT_TRUE(registry.Add(Event(14, LibcPath())));
  const auto facts = registry.Find(FileId{14});
  EXPECT_EQ(asked, LibcPath() + " " + facts->build_id);
  EXPECT_NE(facts->debug, nullptr);
  EXPECT_EQ(facts->alternate, nullptr);
}

TEST_F(RegistryTest, TheVdsoIsAFileLikeAnyOther) {
  FileRegistry registry(Options(), &worker_, &sink_);
  const auto added = registry.AddVdso();
  ASSERT_TRUE(added) << added.error().message;
  const auto facts = registry.Find(FileId{HP_FILE_VDSO});
  ASSERT_NE(facts, nullptr);
  EXPECT_EQ(facts->path, "[vdso]");
  EXPECT_EQ(facts->table_source, "eh_frame");
  EXPECT_GT(sink_.rows[HP_FILE_VDSO], 0U);
  ASSERT_TRUE(registry.AddVdso());
  EXPECT_EQ(sink_.loads, 1);
}

TEST_F(RegistryTest, ADeletedLibraryOfARealProcessIsStillIndexed) {
  const std::string path = CopyOfLibc("deleted.so");
  const RealMapping mapping(path);
  const MappedFile mapped = mapping.AsMappedFile(path);
  ASSERT_TRUE(fs::remove(path));
  FileRegistry::Options options = Options();
  options.proc = "/proc";
  FileRegistry registry(options, &worker_, &sink_);
  const auto added = registry.Add(
      {FileId{15}, mapped.key, mapped.vma_start, mapped.vma_end, mapped.pid, mapped.path});
  if (!added && added.error().code == ErrorCode::kPermission) {
    GTEST_SKIP() << "map_files needs CAP_CHECKPOINT_RESTORE";
  }
  ASSERT_TRUE(added) << added.error().message;
  EXPECT_EQ(registry.Find(FileId{15})->path, path);
  EXPECT_GT(sink_.rows[15], 10'000U);
}

TEST_F(RegistryTest, AForgottenFileIsFoundAsLongAsSomethingOlderIsPinned) {
  FileRegistry registry(Options(), &worker_, &sink_);
  const std::vector<FileId> first = {FileId{16}}, second = {FileId{17}};
  ASSERT_TRUE(registry.Add(Event(16, process_.folder().Write("a", BareElf()))));
  ASSERT_TRUE(registry.Add(Event(17, process_.folder().Write("b", BareElf() + "b"))));
  std::shared_ptr<const void> old = registry.Pin();
  registry.Forget(first);
  std::shared_ptr<const void> young = registry.Pin();
  registry.Forget(second);
  EXPECT_NE(registry.Find(FileId{16}), nullptr);
  old.reset();
  registry.DropForgotten();
  EXPECT_EQ(registry.Find(FileId{16}), nullptr);
  EXPECT_NE(registry.Find(FileId{17}), nullptr);
  young.reset();
  registry.DropForgotten();
  EXPECT_EQ(registry.Find(FileId{17}), nullptr);
  EXPECT_EQ(registry.counters().files_forgotten, 2U);
  EXPECT_EQ(registry.All().size(), 0U);
}

TEST_F(RegistryTest, ReadersSeeWholeFactsWhileFilesAreAdded) {
  FileRegistry registry(Options(), &worker_, &sink_);
  std::atomic<bool> done{false};
  std::atomic<uint64_t> torn{0};
  std::thread reader([&] {
    while (!done) {
      for (const auto& facts : registry.All()) {
        if (facts->path.empty() || registry.Find(facts->id) == nullptr) ++torn;
      }
    }
  });
  for (uint32_t id = 20; id < 30; ++id) {
    const std::string path =
        process_.folder().Write("bare" + std::to_string(id), BareElf() + std::to_string(id));
    EXPECT_TRUE(registry.Add(Event(id, path)));
  }
  done = true;
  reader.join();
  EXPECT_EQ(torn, 0U);
  EXPECT_EQ(registry.All().size(), 10U);
}

}  // namespace
}  // namespace hotpath
