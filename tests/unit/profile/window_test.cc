// Samples into windows, stacks into tables, and the fixed words.
#include "daemon/profile/window.h"

#include <gtest/gtest.h>

namespace hotpath {
namespace {

Sample MakeSample(uint32_t pid, uint32_t tid, std::vector<uint64_t> offsets, uint64_t value) {
  Sample sample;
  sample.process = {.pid = pid, .start_time_ns = 7};
  sample.tid = tid;
  sample.value = value;
  sample.comm = "worker";
  sample.process_name = "server";
  for (const uint64_t offset : offsets) sample.frames.push_back(Frame::File(FileId{3}, offset));
  return sample;
}

TEST(StackTable, GivesEqualStacksOneIdAndKeepsTheirOrder) {
  StackTable table;
  const std::vector<Frame> a = {Frame::File(FileId{1}, 10), Frame::Kernel(~uint64_t{5})};
  const std::vector<Frame> b = {a[1], a[0]};
  const StackId first = table.Intern(a);
  const StackId second = table.Intern(b);
  EXPECT_NE(first, second);
  EXPECT_EQ(table.Intern(a), first);
  EXPECT_TRUE(std::ranges::equal(table.Frames(first), a));
  EXPECT_TRUE(std::ranges::equal(table.Frames(second), b));
  EXPECT_EQ(table.Frames(table.Intern({})).size(), 0u);
  EXPECT_EQ(table.size(), 3u);
}

TEST(WindowBuilder, AddsUpSamplesOfOneStackAndOwner) {
  WindowBuilder builder(CpuProfileType(100));
  builder.Add(MakeSample(1, 1, {5, 6}, 10'000'000));
  builder.Add(MakeSample(1, 1, {5, 6}, 11'000'000));
  const std::unique_ptr<Window> window = builder.Close();
  ASSERT_EQ(window->rows.size(), 1u);
  EXPECT_EQ(window->rows[0].values, (std::vector<int64_t>{2, 21'000'000}));
}

TEST(WindowBuilder, SumsWhatTheTypeMeasuresInItsOrder) {
  ProfileType type = MemoryGrowthProfileType();
  type.sample_types = {{"space", "bytes"}, {"objects", "count"}};
  type.measures = {Measure::kBytes, Measure::kValue};
  WindowBuilder builder(type);
  Sample sample = MakeSample(1, 1, {5, 6}, 300);
  sample.bytes = 300 * 4096;
  builder.Add(sample);
  builder.Add(sample);
  Sample unknown = MakeSample(1, 1, {7}, 2);
  unknown.bytes = 8192;
  builder.AddKnown(unknown, Loss::kMemoryLimit);
  const std::unique_ptr<Window> window = builder.Close();
  ASSERT_EQ(window->rows.size(), 1u);
  EXPECT_EQ(window->rows[0].values, (std::vector<int64_t>{2 * 300 * 4096, 600}));
  EXPECT_EQ(window->rows[0].samples, 2u);
  EXPECT_EQ(window->lost.at(static_cast<size_t>(Loss::kMemoryLimit)),
            (SampleSum{.samples = 1, .value = 2, .bytes = 8192}));
}

TEST(WindowBuilder, KeepsThreadsStacksAndEndsApart) {
  WindowBuilder builder(CpuProfileType(100));
  builder.Add(MakeSample(1, 1, {5, 6}, 1));
  builder.Add(MakeSample(1, 2, {5, 6}, 1));
  builder.Add(MakeSample(1, 1, {5, 7}, 1));
  Sample cut = MakeSample(1, 1, {5, 6}, 1);
  cut.walk_end = WalkEnd::kNoRule;
  builder.Add(cut);
  const std::unique_ptr<Window> window = builder.Close();
  EXPECT_EQ(window->rows.size(), 4u);
  EXPECT_EQ(window->owners.size(), 2u);
  EXPECT_EQ(window->stacks.size(), 2u);
}

TEST(Frame, SaysWhatItIs) {
  const Frame file = Frame::File(FileId{Frame::kFileMask}, Frame::kOffsetMask);
  EXPECT_EQ(file.kind(), FrameKind::kFile);
  EXPECT_EQ(file.file(), FileId{Frame::kFileMask});
  EXPECT_EQ(file.offset(), Frame::kOffsetMask);
  EXPECT_EQ(Frame::Anonymous(0x7fff12345678).address(), 0x7fff12345678u);
  EXPECT_EQ(Frame::Kernel(0xffffffff81000000).address(), 0xffffffff81000000u);
  EXPECT_EQ(Frame::Kernel(0xffffffff81000000).kind(), FrameKind::kKernel);
}

TEST(SyntheticFrames, AreNamedAsTheContractSays) {
  EXPECT_EQ(SyntheticFrameName(TruncatedFrame(WalkEnd::kTablePending)),
            "[truncated: table pending]");
  EXPECT_EQ(SyntheticFrameName(TruncatedFrame(WalkEnd::kNoRule)), "[truncated: no unwind rule]");
  EXPECT_EQ(SyntheticFrameName(TruncatedFrame(WalkEnd::kBadMemory)), "[truncated: bad memory]");
  EXPECT_EQ(SyntheticFrameName(TruncatedFrame(WalkEnd::kFrameLimit)), "[truncated: frame limit]");
  EXPECT_EQ(SyntheticFrameName(TruncatedFrame(WalkEnd::kBadReturn)),
            "[truncated: bad return address]");
  EXPECT_EQ(SyntheticFrameName(LostFrame(Loss::kRingFull)), "[lost: ring buffer full]");
  EXPECT_EQ(SyntheticFrameName(LostFrame(Loss::kThrottled)), "[lost: throttled]");
  EXPECT_EQ(SyntheticFrameName(LostFrame(Loss::kMapFull)), "[lost: map full]");
  EXPECT_EQ(SyntheticFrameName(LostFrame(Loss::kTooLong)), "[lost: too long]");
}

}  // namespace
}  // namespace hotpath
