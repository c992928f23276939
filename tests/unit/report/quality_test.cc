// What counts as complete, named, truncated and lost.
#include "exporters/report/quality.h"

#include <gtest/gtest.h>

#include "profile_builder.h"

namespace hotpath::report {
namespace {

TEST(Quality, CountsCompleteAndNamedBySamples) {
  const Quality quality =
      MeasureQuality(ProfileBuilder()
                         .Add({"leaf", "main"}, 6, {Text("exe", "/bin/a")})
                         .Add({"libfoo.so+0x1234", "[truncated: no unwind rule]"}, 2,
                              {Text("exe", "/bin/b"), Text("stack", "no unwind rule")})
                         .Add({"[lost: ring buffer full]"}, 3)
                         .Comment("cpu_seconds_kernel=0.112")
                         .Build());
  EXPECT_EQ(quality.samples, 8);
  EXPECT_EQ(quality.complete, 6);
  EXPECT_EQ(quality.frames, 14);
  EXPECT_EQ(quality.named, 12);
  ASSERT_EQ(quality.truncated.size(), 1u);
  EXPECT_EQ(quality.truncated[0].reason, "no unwind rule");
  EXPECT_EQ(quality.truncated[0].samples, 2);
  ASSERT_EQ(quality.lost.size(), 1u);
  EXPECT_EQ(quality.lost[0].reason, "ring buffer full");
  EXPECT_EQ(quality.lost[0].samples, 3);
  EXPECT_DOUBLE_EQ(*quality.cpu_seconds_profile, 0.11) << "lost samples took time too";
  EXPECT_DOUBLE_EQ(*quality.cpu_seconds_kernel, 0.112);
  ASSERT_EQ(quality.by_exe.size(), 2u);
  EXPECT_EQ(quality.by_exe[0].exe, "/bin/a");
}

TEST(Quality, AFilesAccountComesFromTheProfilersComment) {
  const Quality quality = MeasureQuality(
      ProfileBuilder()
          .Add({"main"}, 1)
          .Comment("file=app build_id=aa11 table=eh_frame rows=500 frames=40 failed=2")
          .Comment("file=two words build_id= table=none rows=0 frames=1 failed=1")
          .Comment("file=broken")
          .Build());
  ASSERT_EQ(quality.by_file.size(), 2u);
  EXPECT_EQ(quality.by_file[0].file, "app");
  EXPECT_EQ(quality.by_file[0].frames, 40);
  EXPECT_EQ(quality.by_file[0].rows, 500);
  EXPECT_EQ(quality.by_file[0].failed, 2);
  EXPECT_EQ(quality.by_file[1].file, "two words");
  EXPECT_EQ(quality.by_file[1].table, "none");
}

TEST(Quality, AnInlinedFunctionIsNoFrameOfItsOwn) {
  EXPECT_EQ(MeasureQuality(ProfileBuilder().Add({"a<b", "main"}, 1).Build()).frames, 2);
}

TEST(Quality, AnEmptyProfileIsPerfectAndHasNoNumbersItCannotKnow) {
  pprof::Profile empty;
  empty.sample_types = {{"events", "count"}};
  const Json json = QualityJson(MeasureQuality(empty));
  EXPECT_EQ(json["complete_ratio"], 1);
  EXPECT_TRUE(json["cpu_seconds_profile"].is_null());
  EXPECT_TRUE(json["cpu_seconds_kernel"].is_null());
}

TEST(Quality, AnAddressIsNoName) {
  EXPECT_TRUE(IsUnnamed("libfoo.so+0x1234"));
  EXPECT_TRUE(IsUnnamed("[anon]+0x7f00ab"));
  EXPECT_TRUE(IsUnnamed(""));
  EXPECT_FALSE(IsUnnamed("operator+"));
  EXPECT_FALSE(IsUnnamed("x+0x"));
  EXPECT_FALSE(IsUnnamed("memcpy@plt"));
}

}  // namespace
}  // namespace hotpath::report
