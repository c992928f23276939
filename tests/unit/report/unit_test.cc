// Values in words, as pprof rounds them.
#include "exporters/report/unit.h"

#include <gtest/gtest.h>

namespace hotpath::report {
namespace {

struct LabelCase {
  int64_t value;
  const char *from, *to, *label;
};
class Label : public testing::TestWithParam<LabelCase> {};
TEST_P(Label, IsWhatPprofPrints) {
  EXPECT_EQ(ScaledLabel(GetParam().value, GetParam().from, GetParam().to), GetParam().label);
}
INSTANTIATE_TEST_SUITE_P(
    Units, Label,
    testing::Values(LabelCase{10'000'000, "nanoseconds", "auto", "10ms"},
                    LabelCase{1'234'000'000, "nanoseconds", "auto", "1.23s"},
                    LabelCase{10'000'000, "nanoseconds", "s", "0.01s"},
                    LabelCase{0, "nanoseconds", "auto", "0"},
                    LabelCase{-2048, "bytes", "auto", "-2kB"}, LabelCase{1536, "bytes", "MB", "0"},
                    LabelCase{7, "count", "auto", "7"}, LabelCase{7, "pid", "minimum", "7"},
                    LabelCase{7200, "seconds", "auto", "2hrs"},
                    LabelCase{INT64_MIN, "count", "auto", "-9223372036854775808"}));

TEST(Percentage, IsSixCharactersWide) {
  EXPECT_EQ(Percentage(1, 1), "  100%");
  EXPECT_EQ(Percentage(1, 3), "33.33%");
  EXPECT_EQ(Percentage(1, 1000), "  0.1%");
  EXPECT_EQ(Percentage(16, 100'000), "0.016%");
  EXPECT_EQ(Percentage(0, 0), "    0%");
  EXPECT_EQ(TrimmedPercentage(1, 1000), "0.1%");
}

}  // namespace
}  // namespace hotpath::report
