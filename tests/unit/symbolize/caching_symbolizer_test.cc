// The cache gives the same answers, asks less, keeps to its bound and forgets what may change.
#include "daemon/symbolize/caching_symbolizer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace hotpath {
namespace {

// Names frames "KEY@OFFSET" and counts what it was asked.
class CountingSymbolizer : public Symbolizer {
 public:
  std::vector<SymbolizedFrame> Symbolize(const ProcessKey&,
                                         std::span<const Frame> frames) override {
    std::vector<SymbolizedFrame> out;
    for (const Frame frame : frames) {
      asked += 1;
      SymbolizedFrame answer;
      answer.address = frame.kind() == FrameKind::kFile ? frame.offset() : frame.address();
      answer.mapping = mapping_;
      answer.named = kernel_named || frame.kind() != FrameKind::kKernel;
      answer.lines.resize(1);
      answer.lines[0].function =
          (frame.kind() == FrameKind::kFile ? keys[frame.file().value] : "") + "@" +
          std::to_string(answer.address);
      out.push_back(std::move(answer));
    }
    return out;
  }
  std::string FileKey(FileId file) const override {
    const auto found = keys.find(file.value);
    return found == keys.end() ? "" : found->second;
  }

  std::map<uint32_t, std::string> keys;
  std::atomic<int> asked = 0;
  bool kernel_named = true;

 private:
  std::shared_ptr<const MappingInfo> mapping_ = std::make_shared<const MappingInfo>();
};

std::string NameOf(Symbolizer* symbolizer, Frame frame) {
  return symbolizer->Symbolize({}, {{frame}}).at(0).lines.at(0).function;
}

TEST(CachingSymbolizer, AsksOnceForAPlaceInAFileAndForAKernelAddress) {
  CountingSymbolizer next;
  next.keys[1] = "build-a";
  CachingSymbolizer cache(&next, 1 << 20);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(NameOf(&cache, Frame::File(FileId{1}, 16)), "build-a@16");
    EXPECT_TRUE(NameOf(&cache, Frame::Kernel(0xffffffff81000000)).starts_with("@"));
  }
  EXPECT_EQ(next.asked, 2);
  EXPECT_EQ(cache.counters().hits, 4U);
  EXPECT_EQ(cache.counters().misses, 2U);
}

TEST(CachingSymbolizer, KeepsTheOrderOfABatchOfHitsAndMisses) {
  CountingSymbolizer next;
  next.keys[1] = "a";
  CachingSymbolizer cache(&next, 1 << 20);
  NameOf(&cache, Frame::File(FileId{1}, 2));
  const std::vector<Frame> batch = {Frame::File(FileId{1}, 1), Frame::File(FileId{1}, 2),
                                    Frame::File(FileId{1}, 3)};
  const auto frames = cache.Symbolize({}, batch);
  EXPECT_EQ(frames[0].lines[0].function, "a@1");
  EXPECT_EQ(frames[1].lines[0].function, "a@2");
  EXPECT_EQ(frames[2].lines[0].function, "a@3");
  EXPECT_EQ(next.asked, 3);
}

TEST(CachingSymbolizer, SharesFilesOfOneKeyAndTellsReusedIdsApart) {
  CountingSymbolizer next;
  next.keys = {{1, "same"}, {2, "same"}};
  CachingSymbolizer cache(&next, 1 << 20);
  NameOf(&cache, Frame::File(FileId{1}, 16));
  NameOf(&cache, Frame::File(FileId{2}, 16));
  EXPECT_EQ(next.asked, 1);
  next.keys[1] = "another";
  EXPECT_EQ(NameOf(&cache, Frame::File(FileId{1}, 16)), "another@16");
}

TEST(CachingSymbolizer, DoesNotKeepWhatMayChange) {
  CountingSymbolizer next;
  next.kernel_named = false;
  CachingSymbolizer cache(&next, 1 << 20);
  for (int i = 0; i < 2; ++i) {
    NameOf(&cache, Frame::File(FileId{5}, 16));
    NameOf(&cache, Frame::Anonymous(0x1000));
    NameOf(&cache, Frame::Kernel(0xffffffff81000000));
  }
  EXPECT_EQ(next.asked, 6);
  EXPECT_EQ(cache.counters().entries, 0U);
}

TEST(CachingSymbolizer, StaysWithinItsBytesAndKeepsWhatIsUsed) {
  CountingSymbolizer next;
  next.keys[1] = "a";
  CachingSymbolizer cache(&next, 20'000);
  for (uint64_t i = 0; i < 1000; ++i) {
    NameOf(&cache, Frame::File(FileId{1}, i));
    NameOf(&cache, Frame::File(FileId{1}, 0));
  }
  EXPECT_LE(cache.counters().bytes, 20'000U);
  EXPECT_GT(cache.counters().entries, 10U);
  EXPECT_GT(cache.counters().evictions, 800U);
  EXPECT_EQ(next.asked, 1000);
}

TEST(CachingSymbolizer, ServesSeveralThreads) {
  CountingSymbolizer next;
  next.keys[1] = "a";
  CachingSymbolizer cache(&next, 50'000);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (uint64_t i = 0; i < 2000; ++i) {
        if (NameOf(&cache, Frame::File(FileId{1}, i % 300)) != "a@" + std::to_string(i % 300)) {
          ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace hotpath
