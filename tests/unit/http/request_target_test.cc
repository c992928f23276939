// Paths and queries, well-formed and not.
#include "exporters/http/request_target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hotpath {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(RequestTargetTest, PathAndQueryAreDecodedInOrder) {
  const auto target = ParseRequestTarget("/a%20b+c/?pid=1&comm=x%26y+z&pid=2&flag&&=v&k==");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->path, "/a b+c/");
  EXPECT_THAT(target->query, ElementsAre(Pair("pid", "1"), Pair("comm", "x&y z"), Pair("pid", "2"),
                                         Pair("flag", ""), Pair("", "v"), Pair("k", "=")));
}

TEST(RequestTargetTest, APathAloneHasNoQuery) {
  EXPECT_EQ(ParseRequestTarget("/")->path, "/");
  EXPECT_THAT(ParseRequestTarget("/x?")->query, IsEmpty());
  EXPECT_EQ(ParseRequestTarget("/x#fragment?a=b")->path, "/x");
}

TEST(RequestTargetTest, WhatIsBrokenIsRefused) {
  for (const char* target : {"", "x", "http://host/x", "*", "/%", "/%2", "/%zz", "/%00", "/x?a=%",
                             "/x?%4=b", "/x?a=%00"}) {
    const auto parsed = ParseRequestTarget(target);
    ASSERT_FALSE(parsed) << target;
    EXPECT_EQ(parsed.error().code, ErrorCode::kMalformed) << target;
  }
}

TEST(RequestTargetTest, AHundredParametersAreEnough) {
  std::string target = "/x?";
  for (int i = 0; i < 100; ++i) target += "a=b&";
  ASSERT_TRUE(ParseRequestTarget(target));
  const auto parsed = ParseRequestTarget(target + "a=b");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, ErrorCode::kTooLarge);
}

}  // namespace
}  // namespace hotpath
