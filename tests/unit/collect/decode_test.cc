// Text and records that the kernel hands us.
#include <gtest/gtest.h>

#include "daemon/collect/cpu_events.h"
#include "daemon/collect/ring_reader.h"
#include "daemon/collect/session_counters.h"

namespace hotpath {
namespace {

TEST(CpuList, ReadsRangesAndSingleNumbers) {
  EXPECT_EQ(ParseCpuList("0-3,8,10-11"), (std::vector<int>{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_EQ(ParseCpuList("0"), (std::vector<int>{0}));
}

TEST(CpuList, RefusesWhatIsNone) {
  for (const char* text : {"", "a", "3-1", "0-99999999", "1,,2", "-1", "0-", "0 1"}) {
    EXPECT_TRUE(ParseCpuList(text).empty()) << text;
  }
}

TEST(PathFromComponents, TurnsLeafToRootAround) {
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(PathFromComponents("redis-server\0bin\0usr\0"sv), "/usr/bin/redis-server");
  EXPECT_EQ(PathFromComponents("init\0"sv), "/init");
  EXPECT_EQ(PathFromComponents(""sv), "");
  EXPECT_EQ(PathFromComponents("cut"sv), "/cut");
}

TEST(SessionCounters, AddUp) {
  SessionCounters a, b;
  a.sent.samples = 1;
  b.sent.samples = 2;
  b.lost.at(1) = {.samples = 3, .value = 4};
  b.walk_ends.at(2) = 5;
  a += b;
  a += b;
  EXPECT_EQ(a.sent.samples, 5u);
  EXPECT_EQ(a.lost.at(1).samples, 6u);
  EXPECT_EQ(a.lost.at(1).value, 8u);
  EXPECT_EQ(a.walk_ends.at(2), 10u);
}

}  // namespace
}  // namespace hotpath
