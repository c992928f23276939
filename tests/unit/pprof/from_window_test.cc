// What a profile made of a window holds: types, labels, mappings, losses and facts.
#include "exporters/pprof/from_window.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "fake_symbolizer.h"
#include "small_window.h"

namespace hotpath::pprof {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

const ProfileContext kContext{.host = "node1", .kernel = "6.1.0-37-amd64", .version = "0.1.0"};

std::string Text(const std::vector<Label>& labels) {
  std::string text;
  for (const Label& label : labels) {
    text += label.key + '=' + (label.str.empty() ? std::to_string(label.num) : label.str) + ' ';
  }
  return text;
}

std::vector<std::string> Names(const Profile& profile, const Sample& sample) {
  std::vector<std::string> names;
  for (const uint32_t location : sample.locations) {
    for (const Line& line : profile.locations.at(location).lines) {
      names.push_back(profile.functions.at(line.function).name);
    }
  }
  return names;
}

std::string MappingOf(const Profile& profile, uint32_t location) {
  return profile.mappings.at(static_cast<size_t>(profile.locations.at(location).mapping)).file;
}

class FromWindowTest : public testing::Test {
 protected:
  Profile Convert(const std::vector<LabelMatch>& matches = {}) {
    return FromWindow(*window_, symbolizer_, kContext, matches);
  }
  std::unique_ptr<Window> window_ = SmallWindow();
  FakeSymbolizer symbolizer_;
};

TEST_F(FromWindowTest, TypesPeriodAndTimesAreTheWindows) {
  const Profile profile = Convert();
  EXPECT_THAT(profile.sample_types,
              ElementsAre(ValueType{"samples", "count"}, ValueType{"cpu", "nanoseconds"}));
  EXPECT_EQ(profile.period_type, (ValueType{"cpu", "nanoseconds"}));
  EXPECT_EQ(profile.period, 10'000'000);
  EXPECT_EQ(profile.default_sample_type, "cpu");
  EXPECT_EQ(profile.time_ns, window_->start_unix_ns);
  EXPECT_EQ(profile.duration_ns, window_->duration_ns);
}

TEST_F(FromWindowTest, LabelsSayWhoRanAndLeaveOutWhatIsNotKnown) {
  const Profile profile = Convert();
  EXPECT_EQ(Text(profile.samples.at(0).labels),
            "pid=41 tid=42 comm=io_thd_1 process=redis-server exe=/bin/one "
            "cgroup=/system.slice/redis.service unit=redis.service user=redis ");
  EXPECT_EQ(Text(profile.samples.at(3).labels), "pid=52 tid=53 comm=C2 Compiler process=java ");
}

TEST_F(FromWindowTest, AContainersProcessHasItsIdAndNoUnit) {
  const std::string id(64, 'a');
  window_->processes[kRedis].cgroup = "/system.slice/docker-" + id + ".scope";
  EXPECT_THAT(Text(Convert().samples.at(0).labels),
              ::testing::AllOf(::testing::HasSubstr("container_id=" + id + " "),
                               Not(::testing::HasSubstr("unit="))));
}

TEST_F(FromWindowTest, ACutStackSaysWhyInItsLabelAndItsOutermostFrame) {
  const Profile profile = Convert();
  const Sample& cut = profile.samples.at(2);
  EXPECT_EQ(cut.labels.back().key, "stack");
  EXPECT_EQ(cut.labels.back().str, "no unwind rule");
  EXPECT_THAT(Names(profile, cut), ElementsAre("stripped+0x400030", "[truncated: no unwind rule]"));
  EXPECT_EQ(MappingOf(profile, cut.locations.back()), "[hotpath]");
}

TEST_F(FromWindowTest, FramesAreLeafFirstWithTheInnermostInlinedFunctionFirst) {
  const Profile profile = Convert();
  EXPECT_THAT(Names(profile, profile.samples.at(0)),
              ElementsAre("f2::call257", "outer", "f1::call17"));
  EXPECT_THAT(Names(profile, profile.samples.at(1)),
              ElementsAre("do_syscall_64", "f2::call2", "f1::call17"));
  EXPECT_EQ(MappingOf(profile, profile.samples.at(1).locations.at(0)), "[kernel.kallsyms]");
}

TEST_F(FromWindowTest, MappingsAreNormalisedAndTellWhatTheyHave) {
  const Profile profile = Convert();
  for (const Mapping& mapping : profile.mappings) {
    EXPECT_EQ(mapping.start, 0U);
    EXPECT_EQ(mapping.limit, 0U);
    EXPECT_EQ(mapping.offset, 0U);
    EXPECT_TRUE(mapping.has_functions) << mapping.file;
  }
  const auto find = [&](const char* file) {
    return *std::ranges::find(profile.mappings, file, &Mapping::file);
  };
  EXPECT_EQ(find("/lib/two.so").build_id, "ab02");
  EXPECT_TRUE(find("/lib/two.so").has_inline_frames);
  EXPECT_FALSE(find("/bin/one").has_inline_frames);
  EXPECT_TRUE(find("/bin/one").has_filenames);
  EXPECT_TRUE(find("/bin/one").has_line_numbers);
  EXPECT_FALSE(find("/usr/lib/stripped").has_line_numbers);
  EXPECT_EQ(profile.locations.at(profile.samples.at(2).locations.at(0)).address, 0x400030U);
}

TEST_F(FromWindowTest, FunctionsKeepTheirMangledNameAndAppearOnce) {
  const Profile profile = Convert();
  std::set<std::string> system_names;
  for (const Function& function : profile.functions) {
    EXPECT_TRUE(system_names.insert(function.system_name).second) << function.system_name;
  }
  EXPECT_THAT(system_names, Contains("_ZN2f14call17Ev"));
}

TEST_F(FromWindowTest, LossesAreStacksOfTheirOwnAndEverythingAddsUp) {
  const Profile profile = Convert();
  const Sample& lost = profile.samples.back();
  EXPECT_THAT(Names(profile, lost), ElementsAre("[lost: throttled]"));
  EXPECT_THAT(lost.values, ElementsAre(3, 30'000'000));
  EXPECT_THAT(lost.labels, IsEmpty());
  const int64_t total =
      std::accumulate(profile.samples.begin(), profile.samples.end(), int64_t{0},
                      [](int64_t sum, const Sample& sample) { return sum + sample.values.at(1); });
  EXPECT_EQ(total, 130'000'000);
}

TEST_F(FromWindowTest, AFilteredWindowHoldsNoLossesOfTheHost) {
  window_->filtered = true;
  EXPECT_EQ(Convert().samples.size(), 4U);
  window_->filtered = false;
  EXPECT_EQ(Convert({{"comm", "io_thd_1"}}).samples.size(), 3U);
}

TEST_F(FromWindowTest, TheFirstMappingIsTheHostUnlessThereIsOneProcess) {
  EXPECT_EQ(Convert().mappings.at(0).file, "[host:node1]");
  window_->filtered = true;
  EXPECT_EQ(Convert().mappings.at(0).file, "[host:node1]");

  const Profile redis = Convert({{"pid", "41"}});
  EXPECT_EQ(redis.mappings.at(0).file, "/bin/one");
  EXPECT_EQ(redis.mappings.at(0).build_id, "ab01");
  EXPECT_EQ(MappingOf(redis, redis.samples.at(0).locations.at(0)), "/lib/two.so");
  EXPECT_EQ(MappingOf(redis, redis.samples.at(0).locations.at(1)), "/bin/one");
  EXPECT_EQ(MappingOf(redis, redis.samples.at(2).locations.at(1)), "[hotpath]");
}

TEST_F(FromWindowTest, AContainersBinaryIsFoundByItsNameAndAnUnseenOneIsStillNamed) {
  window_->processes[kRedis].exe = "/app/one";
  EXPECT_EQ(Convert({{"pid", "41"}}).mappings.at(0).file, "/bin/one");
  window_->processes[kRedis].exe = "/app/launcher";
  const Profile profile = Convert({{"pid", "41"}});
  EXPECT_EQ(profile.mappings.at(0).file, "/app/launcher");
  EXPECT_EQ(profile.mappings.at(0).build_id, "");
}

TEST_F(FromWindowTest, CommentsHoldTheFactsThatNothingElseDoes) {
  const Profile profile = Convert();
  EXPECT_THAT(
      profile.comments,
      ElementsAre("host=node1 kernel=6.1.0-37-amd64 hz=100 lost=3 complete=0.9000 hotpathd=0.1.0",
                  "cpu_seconds_kernel=1.250000",
                  "#file=two.so build_id=ab02 table=eh_frame rows=200 frames=9 failed=0",
                  "#file=one build_id=ab01 table=eh_frame rows=100 frames=8 failed=0",
                  "#file=stripped build_id=0c table=none rows=0 frames=1 failed=1"));
}

TEST_F(FromWindowTest, NoCommentBeginsWithAHashOrHoldsMoreThanItsWords) {
  window_->cpu_seconds_kernel = -1;
  const ProfileContext odd{.host = "a b\n#c", .kernel = "", .version = "1"};
  const Profile profile = FromWindow(*window_, symbolizer_, odd);
  EXPECT_THAT(profile.comments.at(0), StartsWith("host=a_b_#c kernel= hz="));
  EXPECT_THAT(profile.comments, Not(Contains(StartsWith("cpu_seconds_kernel"))));
}

TEST_F(FromWindowTest, SharedFramesAreNamedInOneCallAndJitCodeInOneAProcess) {
  Convert();
  EXPECT_EQ(symbolizer_.calls, 2U);
  EXPECT_EQ(symbolizer_.frames_asked, 6U);
}

TEST_F(FromWindowTest, JitCodeOfTwoProcessesAtOneAddressHasTwoNames) {
  WindowBuilder builder(CpuProfileType(100));
  for (const uint32_t pid : {1U, 2U}) {
    builder.Add({.value = 1,
                 .process = {.pid = pid, .start_time_ns = 5},
                 .tid = pid,
                 .failed_file = {},
                 .comm = "java",
                 .process_name = "java",
                 .frames = {Frame::Anonymous(0x1000)}});
  }
  const Profile profile = FromWindow(*builder.Close(), symbolizer_, kContext);
  EXPECT_THAT(Names(profile, profile.samples.at(0)), ElementsAre("jit1"));
  EXPECT_THAT(Names(profile, profile.samples.at(1)), ElementsAre("jit2"));
}

TEST_F(FromWindowTest, EstimatesSayHowManySamplesTheyHaveAndWhatTheyLeaveOut) {
  WindowBuilder builder(MemoryGrowthProfileType());
  hotpath::Sample sample{.type = TypeId::kMemoryGrowth,
                         .value = 500,
                         .bytes = 500 * 4096,
                         .process = {.pid = 1, .start_time_ns = 5},
                         .failed_file = {},
                         .comm = "grower",
                         .process_name = "grower",
                         .frames = {Frame::File(FileId{1}, 0x110)}};
  builder.Add(sample);
  builder.Add(sample);
  builder.window().comments = {"duty=0.5"};
  builder.window().lost[0] = {.samples = 1, .value = 70, .bytes = 70 * 4096};
  const Profile profile = FromWindow(*builder.Close(), symbolizer_, kContext);
  EXPECT_THAT(profile.sample_types,
              ElementsAre(ValueType{"faults", "count"}, ValueType{"growth_space", "bytes"}));
  EXPECT_EQ(profile.default_sample_type, "growth_space");
  ASSERT_EQ(profile.samples.size(), 2U);
  EXPECT_THAT(profile.samples[0].values, ElementsAre(1'000, 1'000 * 4096));
  EXPECT_THAT(profile.samples[1].values, ElementsAre(70, 70 * 4096));
  EXPECT_THAT(profile.comments, ::testing::Contains("samples=2"));
  EXPECT_THAT(profile.comments, ::testing::Contains("duty=0.5"));
  EXPECT_THAT(profile.comments, ::testing::Contains(::testing::HasSubstr("private memory")));
}

TEST_F(FromWindowTest, AnEmptyWindowIsAProfile) {
  WindowBuilder builder(CpuProfileType(19));
  const auto decoded = Decode(EncodeGzip(FromWindow(*builder.Close(), symbolizer_, kContext)));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_THAT(decoded->samples, IsEmpty());
  EXPECT_THAT(decoded->comments.at(0), ::testing::HasSubstr("complete=1.0000"));
}

TEST_F(FromWindowTest, ThreadNamesThatAreNoTextDoNotBreakTheProfile) {
  window_->owners.at(0).comm = "\xff\xfe";
  const auto decoded = Decode(Encode(Convert()));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->samples.at(0).labels.at(2).str, "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(LabelsTest, ValuesOfOneLabelAreAlternativesAndLabelsAreConditions) {
  const std::vector<Label> labels = {{.key = "pid", .str = {}, .num = 7, .num_unit = {}},
                                     {.key = "comm", .str = "bash", .num_unit = {}}};
  const auto matches = [&](std::vector<LabelMatch> wanted) { return Matches(labels, wanted); };
  EXPECT_TRUE(matches({{"pid", "7"}}));
  EXPECT_TRUE(matches({{"pid", "8"}, {"pid", "7"}, {"comm", "bash"}}));
  EXPECT_FALSE(matches({{"pid", "7"}, {"comm", "sh"}}));
  EXPECT_FALSE(matches({{"user", "root"}}));
}

}  // namespace
}  // namespace hotpath::pprof
