// Profiles fetched over real sockets, by a plain client and by Go's pprof.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <future>

#include "../pprof/fake_capture_source.h"
#include "../pprof/fake_symbolizer.h"
#include "exporters/http/health.h"
#include "exporters/http/http_server.h"
#include "exporters/pprof/handlers.h"
#include "test_client.h"

namespace hotpath::pprof {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr const char* kGoPprof = "/usr/lib/go-1.19/pkg/tool/linux_amd64/pprof";

class PprofOverHttpTest : public testing::Test {
 protected:
  PprofOverHttpTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "hotpath_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    const ProfileContext context{.host = "node1", .kernel = "6.1", .version = "0.1.0"};
    auto started = HttpServer::Start(
        {.listen = "127.0.0.1:0", .socket_path = {}, .token_file = {}},
        {{.path = "/debug/pprof/profile",
          .long_running = true,
          .handler = std::make_shared<ProfileHandler>(source_, symbolizer_, context)},
         {.path = "/debug/pprof",
          .prefix = true,
          .handler =
              std::make_shared<PprofHandler>(symbolizer_, std::vector<std::string>{"hotpathd"})},
         {.path = "/healthz", .handler = std::make_shared<HealthHandler>()},
         {.path = "/readyz", .handler = std::make_shared<HealthHandler>([this]() -> Result<void> {
                               if (ready_) return {};
                               return Fail(ErrorCode::kUnavailable, "sampling has not begun");
                             })}});
    if (started) server_ = std::move(*started);
  }
  ~PprofOverHttpTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::string Get(const std::string& target) {
    return TestClient(server_->port()).Ask("GET", target);
  }

  // stdout and stderr of Go's pprof over a URL of ours.
  std::string GoPprof(const std::string& arguments, const std::string& target) {
    const std::string command = "PPROF_TMPDIR='" + folder_.string() + "' HOME='" +
                                folder_.string() + "' " + kGoPprof + " " + arguments +
                                " 'http://127.0.0.1:" + std::to_string(server_->port()) + target +
                                "' 2>&1";
    FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) return {};
    std::string text;
    std::array<char, 4096> buffer;
    while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
      text.append(buffer.data(), count);
    }
    ::pclose(pipe);
    return text;
  }

  std::filesystem::path folder_;
  FakeCaptureSource source_;
  FakeSymbolizer symbolizer_;
  std::atomic<bool> ready_ = false;
  std::unique_ptr<HttpServer> server_;  // After what its handlers use.
};

TEST_F(PprofOverHttpTest, AProfileArrivesWhole) {
  ASSERT_NE(server_, nullptr);
  const std::string response = Get("/debug/pprof/profile?seconds=1&hz=200");
  EXPECT_EQ(StatusOf(response), 200);
  const auto decoded = Decode(BodyOf(response));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(decoded->samples.size(), 5U);
  EXPECT_EQ(source_.last_request().hz, 200);
}

TEST_F(PprofOverHttpTest, CapturesRunSideBySideAndOneWhoseClientLeavesIsFreed) {
  ASSERT_NE(server_, nullptr);
  const std::string request =
      "GET /debug/pprof/profile?seconds=3600 HTTP/1.1\r\nHost: localhost\r\n\r\n";
  auto first = std::make_unique<TestClient>(server_->port());
  TestClient second(server_->port());
  first->Send(request);
  second.Send(request);
  ASSERT_TRUE(source_.WaitUnderWay(2, seconds(10)));
  EXPECT_EQ(StatusOf(Get("/healthz")), 200);
  first.reset();
  EXPECT_TRUE(source_.WaitUnderWay(1, seconds(2)));
}

TEST_F(PprofOverHttpTest, HealthAndReadinessAreTwoThings) {
  ASSERT_NE(server_, nullptr);
  EXPECT_EQ(BodyOf(Get("/healthz")), "ok\n");
  const std::string response = Get("/readyz");
  EXPECT_EQ(StatusOf(response), 503);
  EXPECT_EQ(BodyOf(response), "sampling has not begun\n");
  ready_ = true;
  EXPECT_EQ(StatusOf(Get("/readyz")), 200);
}

TEST_F(PprofOverHttpTest, GoPprofFetchesFiltersAndPrintsOurErrors) {
  if (!std::filesystem::exists(kGoPprof)) {
    GTEST_SKIP() << "Go's pprof is not installed (package golang-1.19-go)";
  }
  ASSERT_NE(server_, nullptr);
  const std::string top = GoPprof("-top -seconds 1", "/debug/pprof/profile?pid=41");
  EXPECT_THAT(top, HasSubstr("f2::call257 (inline)"));
  EXPECT_EQ(source_.last_request().duration, seconds(1));
  EXPECT_EQ(source_.last_request().filter.pids, std::vector<uint32_t>{41});

  EXPECT_THAT(GoPprof("-top", "/debug/pprof/profile?colour=red"), HasSubstr("unknown parameter"));
  EXPECT_THAT(GoPprof("-top", "/debug/pprof/heap"), HasSubstr("Unknown profile"));
  source_.FailWith({ErrorCode::kBusy, "profiler busy: 16 captures are under way"});
  EXPECT_THAT(GoPprof("-top -seconds 1", "/debug/pprof/profile"),
              HasSubstr("profiler busy: 16 captures are under way"));
}

}  // namespace
}  // namespace hotpath::pprof
