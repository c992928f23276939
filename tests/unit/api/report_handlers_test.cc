// JSON reports over HTTP: parameters in, the client's JSON out.
#include "exporters/api/report_handlers.h"

#include <gtest/gtest.h>

#include <mutex>
#include <nlohmann/json.hpp>

namespace hotpath::api {
namespace {

pprof::Profile OneFunction(const std::string& name, int64_t samples) {
  pprof::Profile profile;
  profile.sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}};
  profile.duration_ns = 1'000'000'000;
  profile.functions.push_back({name, name, "", 0});
  profile.locations.push_back({-1, 16, {{0, 1}}});
  profile.samples.push_back({{0}, {samples, samples * 1'000'000}, {}});
  return profile;
}

HttpRequest Ask(std::vector<std::pair<std::string, std::string>> query) {
  HttpRequest request;
  request.method = "GET";
  request.query = std::move(query);
  return request;
}

TEST(TopHandler, AnswersTheRowsOfTheCapturedProfile) {
  const auto top = TopHandler([](const HttpRequest&) { return OneFunction("main", 3); });
  const HttpResponse response = top->Handle(Ask({{"seconds", "1"}, {"n", "5"}}));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.content_type, "application/json");
  const auto json = nlohmann::json::parse(response.body);
  EXPECT_EQ(json["rows"][0]["function"], "main");
  EXPECT_EQ(json["rows"][0]["flat"], 3'000'000);
}

TEST(TopHandler, ABadParameterIsRefusedBeforeAnythingIsCaptured) {
  int captures = 0;
  const auto top = TopHandler([&](const HttpRequest&) {
    ++captures;
    return OneFunction("main", 3);
  });
  EXPECT_EQ(top->Handle(Ask({{"n", "many"}})).status, 400);
  EXPECT_EQ(top->Handle(Ask({{"by", "colour"}})).status, 400);
  EXPECT_EQ(captures, 0);
  EXPECT_EQ(top->Handle(Ask({{"focus", "("}})).status, 400);
}

TEST(TopHandler, ACaptureThatFailsIsAnErrorInJson) {
  const auto top = TopHandler([](const HttpRequest&) -> Result<pprof::Profile> {
    return Fail(ErrorCode::kBusy, "too many captures");
  });
  const HttpResponse response = top->Handle(Ask({}));
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(nlohmann::json::parse(response.body)["error"], "too many captures");
}

TEST(QualityHandler, AProfileUnderTheGateIsStatus422) {
  const auto quality =
      QualityHandler([](const HttpRequest&) { return OneFunction("libfoo.so+0x12", 3); });
  EXPECT_EQ(quality->Handle(Ask({})).status, 200);
  EXPECT_EQ(quality->Handle(Ask({{"min_named", "0.9"}})).status, 422);
  EXPECT_EQ(quality->Handle(Ask({{"min_named", "x"}})).status, 400);
}

TEST(DiffHandler, BaseParametersReplaceTheOnesOfTheSameName) {
  std::mutex mutex;
  std::vector<std::string> pids;
  const auto diff = DiffHandler([&](const HttpRequest& request) {
    const std::string pid = request.Query("pid").value_or("none");
    const std::lock_guard lock(mutex);
    pids.push_back(pid);
    EXPECT_FALSE(request.Query("base_pid").has_value());
    return OneFunction("main", pid == "1" ? 100 : 300);
  });
  const HttpResponse response = diff->Handle(Ask({{"pid", "2"}, {"base_pid", "1"}}));
  ASSERT_EQ(response.status, 200);
  const auto json = nlohmann::json::parse(response.body);
  EXPECT_EQ(json["rows"][0]["delta"], 200e6);
  EXPECT_TRUE(json["rows"][0]["significant"]);
  std::ranges::sort(pids);
  EXPECT_EQ(pids, (std::vector<std::string>{"1", "2"}));
}

TEST(DiffHandler, WithoutBaseParametersTheBaseIsCapturedFirst) {
  int captures = 0;
  const auto diff = DiffHandler(
      [&](const HttpRequest&) { return OneFunction("main", ++captures == 1 ? 10 : 20); });
  const auto json = nlohmann::json::parse(diff->Handle(Ask({})).body);
  EXPECT_EQ(json["rows"][0]["base"], 10e6);
  EXPECT_EQ(json["rows"][0]["new"], 20e6);
}

}  // namespace
}  // namespace hotpath::api
