// What is encoded comes back, and what is broken is refused with the name of the field.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <protozero/pbf_writer.hpp>

#include "exporters/pprof/gunzip.h"
#include "exporters/pprof/profile.h"

namespace hotpath::pprof {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Profile SmallProfile() {
  Profile profile;
  profile.sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}};
  profile.default_sample_type = "cpu";
  profile.period_type = {"cpu", "nanoseconds"};
  profile.period = 10101010;
  profile.time_ns = 1'700'000'000'000'000'000;
  profile.duration_ns = 5'000'000'000;
  profile.comments = {"host=a", "", "lost=0"};
  profile.drop_frames = "^drop$";
  profile.keep_frames = "^keep$";
  profile.mappings = {{.start = 1,
                       .limit = UINT64_MAX,
                       .offset = 3,
                       .file = "/bin/x",
                       .build_id = "ab12",
                       .has_functions = true,
                       .has_filenames = true,
                       .has_line_numbers = true,
                       .has_inline_frames = true}};
  profile.functions = {{"f", "_Z1fv", "x.cc", 10}, {"g", "g", "", 0}};
  profile.locations = {{.mapping = 0, .address = 0x10, .lines = {{0, 11}, {1, 0}}},
                       {.mapping = -1, .address = UINT64_MAX, .lines = {}}};
  profile.samples = {{.locations = {0, 1},
                      .values = {1, -5},
                      .labels = {{.key = "comm", .str = "x", .num_unit = ""},
                                 {.key = "pid", .str = "", .num = 7, .num_unit = "id"}}},
                     {.locations = {}, .values = {0, 0}, .labels = {}}};
  return profile;
}

void ExpectSame(const Profile& a, const Profile& b) {
  EXPECT_EQ(a.sample_types, b.sample_types);
  EXPECT_EQ(a.default_sample_type, b.default_sample_type);
  EXPECT_EQ(a.period_type, b.period_type);
  EXPECT_EQ(a.period, b.period);
  EXPECT_EQ(a.time_ns, b.time_ns);
  EXPECT_EQ(a.duration_ns, b.duration_ns);
  EXPECT_EQ(a.comments, b.comments);
  EXPECT_EQ(a.drop_frames, b.drop_frames);
  EXPECT_EQ(a.keep_frames, b.keep_frames);
  // A second encoding is the same to the byte only when every table is.
  EXPECT_EQ(Encode(a), Encode(b));
  ASSERT_EQ(a.mappings.size(), b.mappings.size());
  ASSERT_EQ(a.locations.size(), b.locations.size());
  ASSERT_EQ(a.functions.size(), b.functions.size());
  ASSERT_EQ(a.samples.size(), b.samples.size());
}

TEST(RoundTripTest, AProfileSurvivesEncodingRawAndCompressed) {
  const Profile profile = SmallProfile();
  const auto raw = Decode(Encode(profile));
  ASSERT_TRUE(raw) << raw.error().message;
  ExpectSame(profile, *raw);
  const auto gzip = Decode(EncodeGzip(profile));
  ASSERT_TRUE(gzip) << gzip.error().message;
  ExpectSame(profile, *gzip);
  EXPECT_EQ(gzip->locations[0].lines[0].function, 0U);
  EXPECT_EQ(gzip->locations[0].lines[1].function, 1U);
  EXPECT_EQ(gzip->locations[1].mapping, -1);
  EXPECT_EQ(gzip->locations[1].address, UINT64_MAX);
  EXPECT_THAT(gzip->samples[0].locations, ElementsAre(0U, 1U));
  EXPECT_THAT(gzip->samples[0].values, ElementsAre(1, -5));
  EXPECT_EQ(gzip->samples[0].labels[1].num, 7);
  EXPECT_EQ(gzip->samples[0].labels[1].num_unit, "id");
}

TEST(RoundTripTest, ASampleTypeAndALabelOfNothingAreKept) {
  Profile profile;
  profile.sample_types = {{}, {}};
  profile.samples = {{.locations = {}, .values = {2, 3}, .labels = {{}, {}}}};
  const auto decoded = Decode(Encode(profile));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(decoded->sample_types, profile.sample_types);
  EXPECT_THAT(decoded->samples.at(0).values, ElementsAre(2, 3));
  EXPECT_EQ(decoded->samples.at(0).labels.size(), 2U);
}

TEST(RoundTripTest, AStringThatIsNoUtf8IsRepairedOnTheWire) {
  Profile profile = SmallProfile();
  profile.samples[0].labels[0].str =
      "a\xff"
      "b";
  const auto decoded = Decode(Encode(profile));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->samples[0].labels[0].str,
            "a\xef\xbf\xbd"
            "b");
}

TEST(RoundTripTest, EveryPrefixOfAProfileIsRefusedOrReadWithoutACrash) {
  const std::string raw = Encode(SmallProfile());
  const std::string gzip = EncodeGzip(SmallProfile());
  for (size_t size = 0; size < raw.size(); ++size) (void)Decode(raw.substr(0, size));
  for (size_t size = 2; size < gzip.size(); ++size) {
    const auto cut = Decode(gzip.substr(0, size));
    ASSERT_FALSE(cut) << size;
    EXPECT_EQ(cut.error().code, ErrorCode::kMalformed);
  }
}

// Each case below is a profile of one wrong message.
std::string Message(uint32_t field, const std::string& body) {
  std::string bytes;
  protozero::pbf_writer(bytes).add_bytes(field, body);
  return bytes;
}
std::string Varint(uint32_t field, uint64_t value) {
  std::string bytes;
  protozero::pbf_writer(bytes).add_uint64(field, value);
  return bytes;
}

struct Broken {
  const char* name;
  std::string bytes;
  const char* message;
};

class BrokenProfileTest : public testing::TestWithParam<Broken> {};

TEST_P(BrokenProfileTest, IsRefusedWithTheFieldsName) {
  const auto decoded = Decode(GetParam().bytes);
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, ErrorCode::kMalformed);
  EXPECT_THAT(decoded.error().message, HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    EveryRule, BrokenProfileTest,
    testing::Values(
        Broken{"Empty", "", "empty"}, Broken{"Text", "this is no profile", "profile"},
        Broken{"FirstStringNotEmpty", Message(6, "x"), "string_table[0]"},
        Broken{"StringOutOfRange", Message(6, "") + Varint(7, 9), "profile.drop_frames: string 9"},
        Broken{"StringNegative", Message(6, "") + Varint(13, UINT64_MAX), "profile.comment"},
        Broken{"MappingIdZero", Message(3, Varint(2, 1)), "mapping.id: 0"},
        Broken{"MappingTwice", Message(3, Varint(1, 1)) + Message(3, Varint(1, 1)),
               "mapping.id: 1 twice"},
        Broken{"FunctionIdZero", Message(5, Varint(5, 1)), "function.id: 0"},
        Broken{"LocationTwice", Message(4, Varint(1, 5)) + Message(4, Varint(1, 5)),
               "location.id: 5 twice"},
        Broken{"LineWithoutFunction", Message(4, Varint(1, 1) + Message(4, Varint(1, 3))),
               "line.function_id: no function 3"},
        Broken{"DanglingLocation", Message(1, "") + Message(2, Varint(1, 4) + Varint(2, 1)),
               "sample.location_id: no location 4"},
        Broken{"TooFewValues", Message(1, "") + Message(2, ""), "0 values for 1 sample types"},
        Broken{"NoSampleType", Message(2, ""), "profile.sample_type"},
        Broken{"SampleOfWrongWireType", Varint(2, 1), "wire type 0"},
        Broken{"PeriodOfWrongWireType", Message(12, "x"), "wire type 2"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(RoundTripTest, UnpackedNumbersAndAMappingThatIsNotThereAreReadAsPprofReadsThem) {
  const std::string bytes = Message(1, "") + Message(4, Varint(1, 900) + Varint(2, 77)) +
                            Message(2, Varint(1, 900) + Varint(1, 900) + Varint(2, 8));
  const auto decoded = Decode(bytes);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_THAT(decoded->samples.at(0).locations, ElementsAre(0U, 0U));
  EXPECT_THAT(decoded->samples.at(0).values, ElementsAre(8));
  EXPECT_EQ(decoded->locations.at(0).mapping, -1);
}

TEST(RoundTripTest, SeveralGzipMembersAreOneProfileAndGarbageBehindThemIsNone) {
  const Profile profile = SmallProfile();
  Profile second;
  second.comments = {};
  const std::string two = EncodeGzip(profile);
  EXPECT_FALSE(Decode(two + "garbage"));
  const auto joined = Gunzip(two + two, 1 << 20);
  ASSERT_TRUE(joined);
  EXPECT_EQ(*joined, Encode(profile) + Encode(profile));
}

TEST(RoundTripTest, MoreThanMaxBytesIsTooLargeHoweverSmallTheFile) {
  Profile profile = SmallProfile();
  profile.comments = {std::string(8 << 20, 'x')};
  const std::string gzip = EncodeGzip(profile);
  ASSERT_LT(gzip.size(), size_t{1} << 20);
  const auto bomb = Decode(gzip, 1 << 20);
  ASSERT_FALSE(bomb);
  EXPECT_EQ(bomb.error().code, ErrorCode::kTooLarge);
  EXPECT_TRUE(Decode(gzip, 16 << 20));
  const auto raw = Decode(Encode(profile), 1 << 20);
  ASSERT_FALSE(raw);
  EXPECT_EQ(raw.error().code, ErrorCode::kTooLarge);
}

TEST(RoundTripTest, ManyReferencesToOneLongStringAreTooLarge) {
  // 2 KiB of comments that each name the same 32 KiB string: 64 MiB of text.
  std::string bytes = Message(6, "") + Message(6, std::string(32 << 10, 'x'));
  for (int i = 0; i < 2048; ++i) bytes += Varint(13, 1);
  const auto decoded = Decode(bytes, 1 << 20);
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, ErrorCode::kTooLarge);
}

}  // namespace
}  // namespace hotpath::pprof
