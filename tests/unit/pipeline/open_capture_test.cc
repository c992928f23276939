// Which samples a capture keeps, and how much of the first and the last.
#include "daemon/open_capture.h"

#include <gtest/gtest.h>

namespace hotpath {
namespace {

constexpr uint64_t kBegin = 1'000;
constexpr uint64_t kEnd = 2'000;

Sample At(uint64_t time_ns, uint64_t value) {
  Sample sample;
  sample.time_ns = time_ns;
  sample.value = value;
  sample.session = 2;
  sample.process = {.pid = 9, .start_time_ns = 1};
  sample.comm = "io_thread";
  sample.process_name = "redis-server";
  sample.frames = {Frame::File(FileId{2}, 64)};
  return sample;
}

// The CPU time a capture of [kBegin, kEnd) takes of `samples`.
int64_t Taken(const CaptureRequest& request, const std::vector<Sample>& samples,
              const ProcessFacts& facts = {}) {
  OpenCapture capture = *OpenCapture::Open(request, 2, kBegin);
  capture.SetEnd(kEnd);
  for (const Sample& sample : samples) capture.Offer(sample, [&](const Sample&) { return facts; });
  const std::unique_ptr<Window> window = capture.Close();
  int64_t sum = 0;
  for (const WindowRow& row : window->rows) sum += row.values.at(1);
  return sum;
}

TEST(OpenCapture, ClipsTheFirstAndTheLastSampleToItsInterval) {
  EXPECT_EQ(Taken({}, {At(1'100, 300)}), 100);
  EXPECT_EQ(Taken({}, {At(1'500, 300)}), 300);
  EXPECT_EQ(Taken({}, {At(2'100, 300)}), 200);
  EXPECT_EQ(Taken({}, {At(2'500, 3'000)}), 1'000);
}

TEST(OpenCapture, LeavesOutWhatLiesBeforeAndAfter) {
  EXPECT_EQ(Taken({}, {At(1'000, 300), At(900, 300), At(2'300, 300)}), 0);
}

TEST(OpenCapture, LeavesOutOtherSessions) {
  Sample other = At(1'500, 300);
  other.session = 0;
  EXPECT_EQ(Taken({}, {other}), 0);
}

TEST(OpenCapture, LeavesOutOtherTypes) {
  Sample other = At(1'500, 300);
  other.type = TypeId::kMemoryGrowth;
  EXPECT_EQ(Taken({}, {other}), 0);
}

Sample GrowthAt(uint64_t time_ns, uint32_t pid, uint32_t parent_pid) {
  Sample sample = At(time_ns, 512);
  sample.type = TypeId::kMemoryGrowth;
  sample.bytes = 512 * 4096;
  sample.process.pid = pid;
  sample.parent_pid = parent_pid;
  return sample;
}

TEST(OpenCapture, TakesSamplesOfOneMomentWhole) {
  CaptureRequest request;
  request.type = "memory_growth";
  EXPECT_EQ(Taken(request, {GrowthAt(1'001, 9, 1), GrowthAt(1'999, 9, 1)}), 2 * 512 * 4096);
  EXPECT_EQ(Taken(request, {GrowthAt(1'000, 9, 1), GrowthAt(2'000, 9, 1)}), 0);
}

TEST(OpenCapture, FollowsDescendantsByWhoStartedThem) {
  CaptureRequest request;
  request.type = "memory_growth";
  request.filter.pids = {9};
  const std::vector<Sample> samples = {GrowthAt(1'100, 9, 1), GrowthAt(1'200, 10, 9),
                                       GrowthAt(1'300, 11, 10), GrowthAt(1'400, 12, 1)};
  EXPECT_EQ(Taken(request, samples), 512 * 4096);
  request.filter.descendants = true;
  EXPECT_EQ(Taken(request, samples), 3 * 512 * 4096);
}

TEST(OpenCapture, NamesTheTypesThereAre) {
  CaptureRequest request;
  request.type = "nonsense";
  const Result<OpenCapture> opened = OpenCapture::Open(request, 2, kBegin);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(opened.error().message, "nonsense: no such profile type: cpu, allocs, memory_growth");
}

TEST(OpenCapture, FiltersByTheNameOfThreadOrProcess) {
  CaptureRequest request;
  request.filter.comm = "^redis";
  EXPECT_EQ(Taken(request, {At(1'500, 300)}), 300);
  request.filter.comm = "^io_";
  EXPECT_EQ(Taken(request, {At(1'500, 300)}), 300);
  request.filter.comm = "nginx";
  EXPECT_EQ(Taken(request, {At(1'500, 300)}), 0);
}

TEST(OpenCapture, FiltersByProgramAndCgroup) {
  const ProcessFacts facts{.exe = "/usr/bin/redis-server", .cgroup = "/system.slice/redis.service"};
  CaptureRequest request;
  request.filter.exe = "redis-server";
  EXPECT_EQ(Taken(request, {At(1'500, 300)}, facts), 300);
  request.filter.exe = "/usr/bin/redis-server";
  EXPECT_EQ(Taken(request, {At(1'500, 300)}, facts), 300);
  request.filter.exe = "server";
  EXPECT_EQ(Taken(request, {At(1'500, 300)}, facts), 0);
  request.filter.exe.reset();
  request.filter.cgroup = "/system.slice/";
  EXPECT_EQ(Taken(request, {At(1'500, 300)}, facts), 300);
  request.filter.cgroup = "/system";
  EXPECT_EQ(Taken(request, {At(1'500, 300)}, facts), 0);
}

TEST(OpenCapture, CountsNewStacksAsLostOverTheMemoryLimit) {
  OpenCapture capture = *OpenCapture::Open({}, 2, kBegin);
  const auto facts = [](const Sample&) { return ProcessFacts(); };
  capture.Offer(At(1'500, 300), facts);
  capture.SetKnownStacksOnly(true);
  capture.Offer(At(1'600, 100), facts);
  Sample other = At(1'700, 70);
  other.frames = {Frame::File(FileId{2}, 65)};
  capture.Offer(other, facts);
  const std::unique_ptr<Window> window = capture.Close();
  ASSERT_EQ(window->rows.size(), 1U);
  EXPECT_EQ(window->rows[0].values, (std::vector<int64_t>{2, 400}));
  const SampleSum& lost = window->lost.at(static_cast<size_t>(Loss::kMemoryLimit));
  EXPECT_EQ(lost.samples, 1U);
  EXPECT_EQ(lost.value, 70U);
}

TEST(OpenCapture, RefusesAnExpressionThatIsNone) {
  CaptureRequest request;
  request.filter.comm = "(";
  const Result<OpenCapture> opened = OpenCapture::Open(request, 2, kBegin);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kInvalidArgument);
  request.filter.comm = std::string(300, 'a');
  EXPECT_FALSE(OpenCapture::Open(request, 2, kBegin));
}

}  // namespace
}  // namespace hotpath
