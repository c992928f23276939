// The kill switch over HTTP.
#include "exporters/api/probe_switch.h"

#include <gtest/gtest.h>

#include <vector>

namespace hotpath::api {
namespace {

HttpResponse Send(const std::string& method, const std::string& path, std::vector<bool>& calls) {
  HttpRequest request;
  request.method = method;
  request.path = path;
  return ProbeSwitchHandler([&calls](bool on) { calls.push_back(on); })->Handle(request);
}

TEST(ProbeSwitch, APostSwitches) {
  std::vector<bool> calls;
  const HttpResponse off = Send("POST", "/api/v1/probes/off", calls);
  EXPECT_EQ(off.status, 200);
  EXPECT_NE(off.body.find("\"probes\":\"off\""), std::string::npos) << off.body;
  EXPECT_EQ(Send("POST", "/api/v1/probes/on", calls).status, 200);
  EXPECT_EQ(calls, (std::vector<bool>{false, true}));
}

TEST(ProbeSwitch, NothingElseDoes) {
  std::vector<bool> calls;
  EXPECT_EQ(Send("GET", "/api/v1/probes/off", calls).status, 405);
  EXPECT_EQ(Send("POST", "/api/v1/probes", calls).status, 404);
  EXPECT_EQ(Send("POST", "/api/v1/probes/offf", calls).status, 404);
  EXPECT_TRUE(calls.empty());
}

}  // namespace
}  // namespace hotpath::api
