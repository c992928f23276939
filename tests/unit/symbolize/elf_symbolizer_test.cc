// Frames of every kind get their names, mappings and lines, from files known to the test alone.
#include "daemon/symbolize/elf_symbolizer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "daemon/files/symbol_index_format.h"

namespace hotpath {
namespace {

struct Function {
  uint32_t address, bytes;
  std::string name;
};

std::shared_ptr<const SymbolIndex> IndexOf(const std::vector<Function>& functions) {
  SymbolIndexHeader header;
  header.count = static_cast<uint32_t>(functions.size());
  std::string names(2, '\0');
  std::vector<uint32_t> words(functions.size() * 3);
  for (size_t i = 0; i < functions.size(); ++i) {
    words[i] = functions[i].address;
    words[functions.size() + i] = functions[i].bytes;
    if (functions[i].name.empty()) continue;
    words[2 * functions.size() + i] = static_cast<uint32_t>(names.size());
    const auto length = static_cast<uint16_t>(functions[i].name.size());
    names.append(reinterpret_cast<const char*>(&length), sizeof(length));
    names += functions[i].name;
  }
  header.name_bytes = static_cast<uint32_t>(names.size());
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
  bytes.append(reinterpret_cast<const char*>(words.data()), words.size() * 4);
  bytes += names;
  return std::make_shared<const SymbolIndex>(*SymbolIndex::FromBytes(bytes));
}

// One library, mapped with its code at file offset 0x1000 and address 0x401000.
class ElfSymbolizerTest : public testing::Test {
 protected:
  ElfSymbolizerTest() {
    facts_->id = kLibrary;
    facts_->path = "/usr/lib/libwork.so.1";
    facts_->build_id = "abcd";
    facts_->table_source = "eh_frame";
    facts_->row_count = 42;
    facts_->segments = {{.file_offset = 0x1000,
                         .address = 0x401000,
                         .file_bytes = 0x1000,
                         .memory_bytes = 0x1000,
                         .executable = true}};
    facts_->symbols = IndexOf({{0x401000, 0x10, "_ZN3foo3barEi"},
                               {0x401010, 0x10, "_ZN3foo3barEi.cold"},
                               {0x401100, 0x40, ""},
                               {0x401200, 0x10, "memcpy@plt"}});
    facts_->binary = std::make_shared<const Fd>(open("/dev/null", O_RDONLY | O_CLOEXEC));
  }

  SymbolizedFrame One(Frame frame, const ProcessKey& process = {}) {
    const std::vector<SymbolizedFrame> frames = symbolizer_.Symbolize(process, {{frame}});
    EXPECT_EQ(frames.size(), 1U);
    EXPECT_FALSE(frames.at(0).lines.empty());
    EXPECT_NE(frames.at(0).mapping, nullptr);
    return frames.at(0);
  }

  static constexpr FileId kLibrary{7};
  std::shared_ptr<FileFacts> facts_ = std::make_shared<FileFacts>();
  std::vector<std::vector<uint64_t>> line_requests_;
  Result<ElfSymbolizer::Lines> line_answer_ = ElfSymbolizer::Lines();
  std::chrono::steady_clock::time_point now_{std::chrono::hours(100)};
  KernelSymbolizer kernel_{{.kallsyms = KernelList(), .notes = "/nowhere"}};
  PerfMaps perf_maps_{[] {
    PerfMaps::Options options;
    options.proc = "/nowhere";
    return options;
  }()};
  ElfSymbolizer symbolizer_{
      {.find_file = [this](FileId id) -> std::shared_ptr<const FileFacts> {
         return id == kLibrary ? facts_ : nullptr;
       },
       .read_lines = [this](int, int,
                            std::span<const uint64_t> addresses) -> Result<ElfSymbolizer::Lines> {
         line_requests_.emplace_back(addresses.begin(), addresses.end());
         return line_answer_;
       },
       .now = [this] { return now_; }},
      &kernel_,
      &perf_maps_};

 private:
  static std::string KernelList() {
    const std::string path = testing::TempDir() + "/kallsyms" + std::to_string(getpid());
    std::ofstream(path) << "ffffffff81000000 T tcp_sendmsg\n"
                           "ffffffff81000100 t slow_path.isra.0.cold\n";
    return path;
  }
};

TEST_F(ElfSymbolizerTest, NamesAFunctionOfAFileByItsElfAddress) {
  const SymbolizedFrame frame = One(Frame::File(kLibrary, 0x1004));
  EXPECT_EQ(frame.address, 0x401004U);
  EXPECT_TRUE(frame.named);
  EXPECT_EQ(frame.lines[0].function, "foo::bar");
  EXPECT_EQ(frame.lines[0].system_function, "_ZN3foo3barEi");
  EXPECT_EQ(*frame.mapping, (MappingInfo{.file = "/usr/lib/libwork.so.1",
                                         .build_id = "abcd",
                                         .table = "eh_frame",
                                         .table_rows = 42}));
}

TEST_F(ElfSymbolizerTest, MakesAFunctionAndItsColdHalfOneNameButTwoSystemNames) {
  const SymbolizedFrame cold = One(Frame::File(kLibrary, 0x1014));
  EXPECT_EQ(cold.lines[0].function, "foo::bar");
  EXPECT_EQ(cold.lines[0].system_function, "_ZN3foo3barEi.cold");
  EXPECT_EQ(One(Frame::File(kLibrary, 0x1200)).lines[0].function, "memcpy@plt");
}

TEST_F(ElfSymbolizerTest, CallsAnUnnamedFunctionByItsFileAndStart) {
  const SymbolizedFrame frame = One(Frame::File(kLibrary, 0x1123));
  EXPECT_FALSE(frame.named);
  EXPECT_EQ(frame.lines[0].function, "libwork.so.1+0x401100");
  EXPECT_EQ(frame.address, 0x401123U);
  EXPECT_EQ(One(Frame::File(kLibrary, 0x1ffe)).lines[0].function, "libwork.so.1+0x401ffe");
}

TEST_F(ElfSymbolizerTest, CallsAFrameOfAFileNobodyOpenedUnknown) {
  const SymbolizedFrame frame = One(Frame::File(FileId{9}, 0x77));
  EXPECT_FALSE(frame.named);
  EXPECT_EQ(frame.lines[0].function, "[unknown]+0x77");
  EXPECT_EQ(symbolizer_.FileKey(FileId{9}), "");
  EXPECT_NE(symbolizer_.FileKey(kLibrary), "");
}

TEST_F(ElfSymbolizerTest, PutsInlinedCallsBeforeTheFunctionAndAsksOnceAFile) {
  facts_->has_debug_info = true;
  line_answer_ = ElfSymbolizer::Lines{
      {{"_Z5innerv", "/src/inner.h", 5, 3}, {"_ZN3foo3barEi", "/src/bar.cc", 20, 18}},
      {{"_ZN3foo3barEi", "/src/bar.cc", 25, 18}}};
  const std::vector<Frame> batch = {Frame::File(kLibrary, 0x1004), Frame::File(kLibrary, 0x1014),
                                    Frame::File(kLibrary, 0x1004)};
  const auto frames = symbolizer_.Symbolize({}, batch);
  ASSERT_EQ(line_requests_.size(), 1U);
  EXPECT_EQ(line_requests_[0], (std::vector<uint64_t>{0x401004, 0x401014}));
  ASSERT_EQ(frames[0].lines.size(), 2U);
  EXPECT_EQ(frames[0].lines[0].function, "inner");
  EXPECT_EQ(frames[0].lines[0].file, "/src/inner.h");
  EXPECT_EQ(frames[0].lines[0].line, 5);
  EXPECT_EQ(frames[0].lines[0].start_line, 3);
  EXPECT_EQ(frames[0].lines[1].function, "foo::bar");
  EXPECT_EQ(frames[0].lines[1].line, 20);
  ASSERT_EQ(frames[1].lines.size(), 1U);
  EXPECT_EQ(frames[1].lines[0].system_function, "_ZN3foo3barEi.cold");
  EXPECT_EQ(frames[1].lines[0].line, 25);
  EXPECT_EQ(frames[2].lines.size(), 2U);
}

TEST_F(ElfSymbolizerTest, TakesTheNameOfDwarfWhereTheSymbolTableHasNone) {
  facts_->has_debug_info = true;
  line_answer_ = ElfSymbolizer::Lines{{{"_ZN3foo6hiddenEv", "/src/h.cc", 9, 8}}};
  const SymbolizedFrame frame = One(Frame::File(kLibrary, 0x1123));
  EXPECT_TRUE(frame.named);
  EXPECT_EQ(frame.lines[0].function, "foo::hidden");
}

TEST_F(ElfSymbolizerTest, GivesNamesOnlyForAnHourAfterLinesFailed) {
  facts_->has_debug_info = true;
  line_answer_ = Fail(ErrorCode::kTimeout, "ended after 10 s");
  const std::string before = symbolizer_.FileKey(kLibrary);
  EXPECT_EQ(One(Frame::File(kLibrary, 0x1004)).lines[0].function, "foo::bar");
  EXPECT_NE(symbolizer_.FileKey(kLibrary), before);
  One(Frame::File(kLibrary, 0x1004));
  EXPECT_EQ(line_requests_.size(), 1U);
  EXPECT_EQ(symbolizer_.failed_line_requests(), 1U);
  now_ += std::chrono::minutes(61);
  line_answer_ = ElfSymbolizer::Lines{{{"_ZN3foo3barEi", "/src/bar.cc", 20, 18}}};
  EXPECT_EQ(One(Frame::File(kLibrary, 0x1004)).lines[0].line, 20);
}

TEST_F(ElfSymbolizerTest, NamesKernelFrames) {
  const SymbolizedFrame frame = One(Frame::Kernel(0xffffffff81000010));
  EXPECT_EQ(frame.lines[0].function, "tcp_sendmsg");
  EXPECT_EQ(frame.mapping->file, "[kernel.kallsyms]");
  EXPECT_EQ(frame.address, 0xffffffff81000010U);
  const SymbolizedFrame clone = One(Frame::Kernel(0xffffffff81000110));
  EXPECT_EQ(clone.lines[0].function, "slow_path");
  EXPECT_EQ(clone.lines[0].system_function, "slow_path.isra.0.cold");
  const SymbolizedFrame unknown = One(Frame::Kernel(0xfffffffff0000000));
  EXPECT_FALSE(unknown.named);
  EXPECT_EQ(unknown.lines[0].function, "[kernel.kallsyms]+0xfffffffff0000000");
}

TEST_F(ElfSymbolizerTest, NamesWhatWeSayOurselves) {
  const SymbolizedFrame frame = One(TruncatedFrame(WalkEnd::kNoRule));
  EXPECT_EQ(frame.lines[0].function, "[truncated: no unwind rule]");
  EXPECT_EQ(frame.mapping->file, "[hotpath]");
}

TEST_F(ElfSymbolizerTest, CallsMemoryOfNoFileAnonymous) {
  const SymbolizedFrame frame = One(Frame::Anonymous(0x7f1234), {12345, 1});
  EXPECT_FALSE(frame.named);
  EXPECT_EQ(frame.lines[0].function, "[anon]+0x7f1234");
  EXPECT_EQ(frame.mapping->file, "[anon]");
}

TEST(ElfSymbolizerJit, NamesJitCodeOfAProcess) {
  const std::string path = "/tmp/perf-" + std::to_string(getpid()) + ".map";
  std::ofstream(path) << "7f0000 100 JS:work app.js:1\n";
  KernelSymbolizer kernel({.kallsyms = "/nowhere", .notes = "/nowhere"});
  PerfMaps perf_maps;
  ElfSymbolizer symbolizer(
      {.find_file = [](FileId) { return nullptr; },
       .read_lines = [](int, int, std::span<const uint64_t>) -> Result<ElfSymbolizer::Lines> {
         return ElfSymbolizer::Lines();
       }},
      &kernel, &perf_maps);
  const int on_stack = 0;
  const std::vector<Frame> batch = {Frame::Anonymous(0x7f0010),
                                    Frame::Anonymous(reinterpret_cast<uintptr_t>(&on_stack))};
  const auto frames = symbolizer.Symbolize({static_cast<uint32_t>(getpid()), 0}, batch);
  std::filesystem::remove(path);
  if (!frames[0].named) GTEST_SKIP() << "no /proc/self/root here";
  EXPECT_EQ(frames[0].lines[0].function, "JS:work app.js:1");
  EXPECT_EQ(frames[0].mapping->file, "[jit]");
  EXPECT_FALSE(frames[1].named);
}

}  // namespace
}  // namespace hotpath
