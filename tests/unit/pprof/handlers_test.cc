// The pprof endpoints, asked without a server: parameters, headers, errors.
#include "exporters/pprof/handlers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "exporters/pprof/profile_query.h"
#include "fake_capture_source.h"
#include "fake_symbolizer.h"

namespace hotpath::pprof {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

using Query = std::vector<std::pair<std::string, std::string>>;

TEST(ProfileQueryTest, SecondsAreReadAsGoReadsThem) {
  const auto duration = [](const Query& query) {
    return ParseProfileQuery(query)->request.duration;
  };
  EXPECT_EQ(duration({}), seconds(30));
  EXPECT_EQ(duration({{"seconds", "5"}}), seconds(5));
  for (const char* none : {"", "0", "-3", "2.5", "x", "99999999999999999999"}) {
    EXPECT_EQ(duration({{"seconds", none}}), seconds(30)) << none;
  }
  EXPECT_EQ(duration({{"seconds", "100000"}}), seconds(3600));
}

TEST(ProfileQueryTest, HzHasBounds) {
  EXPECT_EQ(ParseProfileQuery({})->request.hz, 99);
  EXPECT_EQ(ParseProfileQuery({{"hz", "999"}})->request.hz, 999);
  for (const char* wrong : {"0", "1000", "-1", "fast"}) {
    const auto parsed = ParseProfileQuery({{"hz", wrong}});
    ASSERT_FALSE(parsed) << wrong;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST(ProfileQueryTest, FiltersAreTheCapturesAndOtherLabelsAreMatched) {
  const auto parsed = ParseProfileQuery({{"pid", "3,4"},
                                         {"pid", "5"},
                                         {"pid", "3"},
                                         {"comm", "^io"},
                                         {"exe", "/bin/x"},
                                         {"cgroup", "/system.slice"},
                                         {"user", "redis"},
                                         {"unit", ""},
                                         {"debug", "1"}});
  ASSERT_TRUE(parsed) << parsed.error().message;
  const CaptureFilter& filter = parsed->request.filter;
  EXPECT_THAT(filter.pids, ElementsAre(3U, 4U, 5U));
  EXPECT_EQ(filter.comm, "^io");
  EXPECT_EQ(filter.exe, "/bin/x");
  EXPECT_EQ(filter.cgroup, "/system.slice");
  ASSERT_EQ(parsed->matches.size(), 1U);
  EXPECT_EQ(parsed->matches[0].name, "user");
}

TEST(ProfileQueryTest, WhatIsWrongIsNamed) {
  const auto message = [](const Query& query) {
    const auto parsed = ParseProfileQuery(query);
    return parsed ? std::string("no error") : parsed.error().message;
  };
  EXPECT_THAT(message({{"pid", "x"}}), HasSubstr("pid"));
  EXPECT_THAT(message({{"pid", "1,"}}), HasSubstr("pid"));
  EXPECT_THAT(message({{"pid", "0"}}), HasSubstr("pid"));
  EXPECT_THAT(message({{"comm", "a"}, {"comm", "b"}}), HasSubstr("once"));
  EXPECT_THAT(message({{"from", "-2h"}}), HasSubstr("history"));
  EXPECT_THAT(message({{"colour", ""}}),
              AllOf(HasSubstr("colour"), HasSubstr("seconds"), HasSubstr("container_id")));
}

class HandlersTest : public testing::Test {
 protected:
  HttpResponse Profile(Query query, const char* method = "GET", const char* type = "cpu") {
    ProfileHandler handler(source_, symbolizer_, {.host = "h", .kernel = "k", .version = "v"},
                           type);
    return handler.Handle({.method = method,
                           .path = "/debug/pprof/profile",
                           .query = std::move(query),
                           .body = {},
                           .headers = {},
                           .cancelled = cancelled_});
  }
  HttpResponse Other(const char* path, Query query = {}, const char* method = "GET",
                     std::string body = {}) {
    PprofHandler handler(symbolizer_, {"hotpathd", "--listen", ":1"});
    return handler.Handle({.method = method,
                           .path = path,
                           .query = std::move(query),
                           .body = std::move(body),
                           .headers = {},
                           .cancelled = cancelled_});
  }

  FakeCaptureSource source_;
  FakeSymbolizer symbolizer_;
  std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
};

TEST_F(HandlersTest, AProfileIsAGzipAttachment) {
  const HttpResponse response = Profile({{"seconds", "1"}, {"pid", "41"}});
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.content_type, "application/octet-stream");
  EXPECT_THAT(response.headers,
              AllOf(Contains(Pair("X-Content-Type-Options", "nosniff")),
                    Contains(Pair("Content-Disposition", R"(attachment; filename="profile")")),
                    Not(Contains(Key("Content-Encoding")))));
  EXPECT_TRUE(response.body.starts_with("\x1f\x8b"));
  const auto decoded = Decode(response.body);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(decoded->samples.size(), 5U);
  EXPECT_THAT(source_.last_request().filter.pids, ElementsAre(41U));
}

TEST_F(HandlersTest, ALabelThatIsNoCaptureFilterStillFilters) {
  const auto decoded = Decode(Profile({{"user", "redis"}}).body);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->samples.size(), 3U);
}

TEST_F(HandlersTest, HeadTakesNoCapture) {
  const HttpResponse response = Profile({{"seconds", "9"}}, "HEAD");
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(response.body, IsEmpty());
  EXPECT_EQ(source_.captures(), 0U);
}

TEST_F(HandlersTest, ErrorsAreTextThatPprofPrints) {
  const auto expect = [](const HttpResponse& response, int status) {
    EXPECT_EQ(response.status, status);
    EXPECT_EQ(response.content_type, "text/plain; charset=utf-8");
    EXPECT_TRUE(response.body.ends_with("\n"));
    EXPECT_THAT(response.headers, AllOf(Contains(Pair("X-Go-Pprof", "1")),
                                        Contains(Pair("X-Content-Type-Options", "nosniff")),
                                        Not(Contains(Key("Content-Disposition")))));
  };
  expect(Profile({{"hz", "0"}}), 400);
  expect(Profile({{"colour", "red"}}), 400);
  for (const auto& [code, status] :
       std::vector<std::pair<ErrorCode, int>>{{ErrorCode::kBusy, 503},
                                              {ErrorCode::kInvalidArgument, 400},
                                              {ErrorCode::kUnavailable, 503},
                                              {ErrorCode::kSystem, 500}}) {
    source_.FailWith({code, "profiler busy: 16 captures are under way"});
    expect(Profile({}), status);
    EXPECT_EQ(Profile({}).body, "profiler busy: 16 captures are under way\n");
  }
  for (const char* name :
       {"heap", "allocs", "block", "mutex", "goroutine", "threadcreate", "trace", "nonsense"}) {
    const HttpResponse response = Other((std::string("/debug/pprof/") + name).c_str());
    expect(response, 404);
    EXPECT_EQ(response.body, "Unknown profile; known are profile, allocs, memory_growth\n");
  }
}

TEST_F(HandlersTest, AnEndpointAsksForItsTypeAndIsNamedAfterIt) {
  const HttpResponse response = Profile({{"seconds", "1"}}, "GET", "memory_growth");
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(response.headers,
              Contains(Pair("Content-Disposition", R"(attachment; filename="memory_growth")")));
  EXPECT_EQ(source_.last_request().type, "memory_growth");
  EXPECT_EQ(Profile({}, "GET", "nonsense").status, 404);
}

TEST_F(HandlersTest, ACancelledCaptureIsNotEncoded) {
  cancelled_->store(true);
  EXPECT_EQ(Profile({{"seconds", "3600"}}).status, 503);
  EXPECT_EQ(symbolizer_.calls, 0U);
}

TEST_F(HandlersTest, TheIndexLinksWhatThereIs) {
  const HttpResponse response = Other("/debug/pprof/");
  EXPECT_EQ(response.content_type, "text/html; charset=utf-8");
  EXPECT_THAT(response.body,
              AllOf(HasSubstr(R"(href="profile?seconds=30")"), HasSubstr(R"(href="cmdline")"),
                    HasSubstr(R"(href="memory_growth?seconds=30")"), HasSubstr(R"(href="symbol")"),
                    Not(HasSubstr("heap"))));
  EXPECT_EQ(Other("/debug/pprof").status, 301);
}

TEST_F(HandlersTest, CmdlineIsJoinedByNul) {
  EXPECT_EQ(Other("/debug/pprof/cmdline").body, std::string("hotpathd\0--listen\0:1", 20));
}

TEST_F(HandlersTest, SymbolNamesKernelAddressesByGetAndPost) {
  const std::string expected = "num_symbols: 1\n0xffffffff81000010 do_syscall_64\n";
  EXPECT_EQ(Other("/debug/pprof/symbol", {{"0xffffffff81000010 0x12 zz", ""}}).body, expected);
  EXPECT_EQ(Other("/debug/pprof/symbol", {}, "POST", "ffffffff81000010+0x12").body, expected);
  EXPECT_EQ(Other("/debug/pprof/symbol").body, "num_symbols: 1\n");
}

}  // namespace
}  // namespace hotpath::pprof
