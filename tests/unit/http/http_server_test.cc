// The server over real sockets: routing, refusals, limits, slow and vanishing clients, stopping.
#include "exporters/http/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <latch>
#include <thread>

#include "test_client.h"

namespace hotpath {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class FunctionHandler : public Handler {
 public:
  explicit FunctionHandler(std::function<HttpResponse(const HttpRequest&)> function)
      : function_(std::move(function)) {}
  HttpResponse Handle(const HttpRequest& request) override { return function_(request); }

 private:
  std::function<HttpResponse(const HttpRequest&)> function_;
};

std::shared_ptr<Handler> Answer(std::function<HttpResponse(const HttpRequest&)> function) {
  return std::make_shared<FunctionHandler>(std::move(function));
}
std::shared_ptr<Handler> Text(const std::string& text) {
  return Answer([text](const HttpRequest&) { return HttpResponse{.headers = {}, .body = text}; });
}

// True once the request is cancelled; false after 15 s.
bool WaitForCancel(const HttpRequest& request) {
  const auto end = steady_clock::now() + seconds(15);
  while (!request.cancelled->load()) {
    if (steady_clock::now() > end) return false;
    std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class HttpServerTest : public testing::Test {
 protected:
  HttpServerTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "hotpath_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    options_.listen = "127.0.0.1:0";
  }
  ~HttpServerTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Start(std::vector<Route> routes) {
    auto started = HttpServer::Start(options_, std::move(routes));
    ASSERT_TRUE(started) << started.error().message;
    server_ = std::move(*started);
  }
  std::string Get(const std::string& target,
                  const std::string& headers = "Host: localhost\r\n") const {
    return TestClient(server_->port()).Ask("GET", target, headers);
  }
  std::string Path(const char* name) const { return (folder_ / name).string(); }

  std::filesystem::path folder_;
  HttpServerOptions options_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, TheLongestPathThatFitsAnswers) {
  Start({{.path = "/", .handler = Text("root")},
         {.path = "/api/", .prefix = true, .handler = Text("prefix")},
         {.path = "/api/top", .handler = Text("exact")}});
  EXPECT_EQ(BodyOf(Get("/")), "root");
  EXPECT_EQ(BodyOf(Get("/api/top")), "exact");
  EXPECT_EQ(BodyOf(Get("/api/topmost?x=y")), "prefix");
  EXPECT_EQ(BodyOf(Get("/%61pi/top")), "exact");
  EXPECT_EQ(StatusOf(Get("/else")), 404);
}

TEST_F(HttpServerTest, AHandlerIsGivenTheWholeRequest) {
  HttpRequest seen;
  Start({{.path = "/x", .handler = Answer([&](const HttpRequest& request) {
                          seen = request;
                          return HttpResponse{.status = 201,
                                              .content_type = "application/json",
                                              .headers = {{"X-Extra", "1"}},
                                              .body = "{}"};
                        })}});
  const std::string response =
      TestClient(server_->port())
          .Ask("POST", "/x?a=1&a=2", "Host: localhost\r\nX-Mixed: Case\r\n", "the body");
  EXPECT_EQ(StatusOf(response), 201);
  EXPECT_THAT(response, AllOf(HasSubstr("Content-Type: application/json\r\n"),
                              HasSubstr("X-Extra: 1\r\n"), HasSubstr("Content-Length: 2\r\n")));
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.path, "/x");
  EXPECT_EQ(seen.query.size(), 2U);
  EXPECT_EQ(seen.Query("a"), "1");
  EXPECT_EQ(seen.body, "the body");
  EXPECT_EQ(seen.headers["x-mixed"], "Case");
}

TEST_F(HttpServerTest, HeadHasTheLengthAndNoBody) {
  Start({{.path = "/x", .handler = Text("12345")}});
  const std::string response = TestClient(server_->port()).Ask("HEAD", "/x");
  EXPECT_THAT(response, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_EQ(BodyOf(response), "");
}

TEST_F(HttpServerTest, WhatIsRefusedIsSaidAsTextAndToPprofWithItsHeader) {
  Start({{.path = "/debug/pprof/", .prefix = true, .handler = Text("x")},
         {.path = "/y", .handler = Text("y")}});
  const std::string deleted = TestClient(server_->port()).Ask("DELETE", "/debug/pprof/profile");
  EXPECT_EQ(StatusOf(deleted), 405);
  EXPECT_THAT(deleted,
              AllOf(HasSubstr("Allow: GET, HEAD, POST\r\n"), HasSubstr("X-Go-Pprof: 1\r\n"),
                    HasSubstr("X-Content-Type-Options: nosniff\r\n"),
                    HasSubstr("Content-Type: text/plain; charset=utf-8\r\n")));
  EXPECT_THAT(TestClient(server_->port()).Ask("PUT", "/y"), Not(HasSubstr("X-Go-Pprof")));
  EXPECT_EQ(StatusOf(Get("/y?a=%zz")), 400);
  EXPECT_EQ(StatusOf(TestClient(server_->port())
                         .Ask("POST", "/y", "Host: localhost\r\n", std::string(1'100'000, 'x'))),
            413);
  EXPECT_EQ(BodyOf(TestClient(server_->port())
                       .Ask("POST", "/y", "Host: localhost\r\n", std::string(1'000'000, 'x'))),
            "y");
  EXPECT_GE(StatusOf(Get("/y", "Host: localhost\r\nX: " + std::string(20'000, 'x') + "\r\n")), 400);
  EXPECT_EQ(StatusOf(Get("/y")), 200);
}

TEST_F(HttpServerTest, AForeignHostNameIsRefusedOnLoopback) {
  Start({{.path = "/y", .handler = Text("y")}});
  EXPECT_EQ(StatusOf(Get("/y", "Host: evil.example:7878\r\n")), 403);
  EXPECT_EQ(StatusOf(Get("/y", "Host: 127.0.0.1:7878\r\n")), 200);
  EXPECT_EQ(StatusOf(Get("/y", "Host: [::1]\r\n")), 200);
}

TEST_F(HttpServerTest, BeyondLoopbackATokenIsNeeded) {
  options_.listen = "0.0.0.0:0";
  const auto refused = HttpServer::Start(options_, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("token_file"));

  std::ofstream(Path("token")) << "0123456789abcdef";
  options_.token_file = Path("token");
  options_.socket_path = Path("s");
  Start({{.path = "/y", .handler = Text("y")}});
  const std::string denied = Get("/y", "Host: node1\r\n");
  EXPECT_EQ(StatusOf(denied), 401);
  EXPECT_THAT(denied, HasSubstr("WWW-Authenticate: Bearer\r\n"));
  const std::string token = "Host: node1\r\nAuthorization: Bearer 0123456789abcdef\r\n";
  EXPECT_EQ(StatusOf(Get("/y", token)), 200);
  EXPECT_EQ(StatusOf(TestClient(Path("s")).Ask("GET", "/y", "Host: x\r\n")), 200);

  std::ofstream(Path("token")) << "fedcba9876543210";
  ASSERT_TRUE(server_->ReloadToken());
  EXPECT_EQ(StatusOf(Get("/y", token)), 401);
  std::ofstream(Path("token")) << "short";
  EXPECT_FALSE(server_->ReloadToken());
  EXPECT_EQ(StatusOf(Get("/y", "Host: x\r\nAuthorization: Bearer fedcba9876543210\r\n")), 200);
}

TEST_F(HttpServerTest, AUnixSocketAloneIsEnoughAndNeitherIsAnError) {
  options_.listen = "";
  EXPECT_FALSE(HttpServer::Start(options_, {}));
  options_.socket_path = Path("s");
  Start({{.path = "/y", .handler = Text("y")}});
  EXPECT_EQ(server_->port(), 0);
  EXPECT_EQ(BodyOf(TestClient(Path("s")).Ask("GET", "/y", "Host: anything\r\n")), "y");
  server_->Stop();
  EXPECT_FALSE(std::filesystem::exists(Path("s")));
}

TEST_F(HttpServerTest, LongRequestsPastTheBoundAreBusyAndShortOnesStillAnswer) {
  options_.max_long_requests = 2;
  std::latch started(2);
  std::promise<void> release;
  std::shared_future<void> released = release.get_future().share();
  Start({{.path = "/debug/pprof/profile",
          .long_running = true,
          .handler = Answer([&](const HttpRequest&) {
            started.count_down();
            released.wait();
            return HttpResponse{.headers = {}, .body = "profile"};
          })},
         {.path = "/healthz", .handler = Text("ok")}});
  auto first = std::async(std::launch::async, [&] { return Get("/debug/pprof/profile"); });
  auto second = std::async(std::launch::async, [&] { return Get("/debug/pprof/profile"); });
  started.wait();
  const std::string busy = Get("/debug/pprof/profile");
  EXPECT_EQ(StatusOf(busy), 503);
  EXPECT_THAT(busy, AllOf(HasSubstr("X-Go-Pprof: 1\r\n"), HasSubstr("busy")));
  EXPECT_EQ(StatusOf(Get("/healthz")), 200);
  release.set_value();
  EXPECT_EQ(BodyOf(first.get()), "profile");
  EXPECT_EQ(BodyOf(second.get()), "profile");
  EXPECT_EQ(BodyOf(Get("/debug/pprof/profile")), "profile");
}

TEST_F(HttpServerTest, AClientThatGoesAwayCancelsItsRequestWithinTwoSeconds) {
  std::latch started(1);
  std::promise<bool> cancelled;
  Start({{.path = "/long", .long_running = true, .handler = Answer([&](const HttpRequest& request) {
                                                   started.count_down();
                                                   cancelled.set_value(WaitForCancel(request));
                                                   return HttpResponse{.headers = {},
                                                                       .body = "late"};
                                                 })},
         {.path = "/y", .handler = Text("y")}});
  steady_clock::time_point left;
  {
    TestClient client(server_->port());
    client.Send("GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n");
    started.wait();
    left = steady_clock::now();
  }
  EXPECT_TRUE(cancelled.get_future().get());
  EXPECT_LT(steady_clock::now() - left, seconds(2));
  EXPECT_EQ(StatusOf(Get("/y")), 200);
}

TEST_F(HttpServerTest, ClientsThatDripDelayNobodyAndAreClosedAtTheTimeout) {
  options_.request_timeout = seconds(2);
  Start({{.path = "/y", .handler = Text("y")}});
  std::vector<TestClient> drips;
  for (int i = 0; i < 20; ++i) {
    drips.emplace_back(server_->port());
    drips.back().Send("GET /y HTTP/1.1\r\nHost: loc");
  }
  const auto asked = steady_clock::now();
  EXPECT_EQ(StatusOf(Get("/y")), 200);
  EXPECT_LT(steady_clock::now() - asked, seconds(1));
  // One header line every 100 ms never ends a request, and each one is a sign of life.
  const auto end = steady_clock::now() + seconds(15);
  bool closed = false;
  while (!closed && steady_clock::now() < end) {
    closed = !drips[0].Send("X: y\r\n");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_TRUE(closed);
}

TEST_F(HttpServerTest, OneAddressHoldsNoMoreThanItsShareOfConnections) {
  options_.max_connections_per_ip = 4;
  Start({{.path = "/y", .handler = Text("y")}});
  std::vector<std::unique_ptr<TestClient>> held;
  for (int i = 0; i < 4; ++i) {
    held.push_back(std::make_unique<TestClient>(server_->port()));
    // An answer shows that the connection is accepted; it stays open.
    held.back()->Send("GET /y HTTP/1.1\r\nHost: localhost\r\n\r\n");
    char first = 0;
    ASSERT_EQ(::recv(held.back()->fd(), &first, 1, 0), 1);
  }
  EXPECT_EQ(Get("/y"), "");
}

TEST_F(HttpServerTest, AReaderThatStopsReadingStallsNobodyAndOneThatLeavesHarmsNobody) {
  Start({{.path = "/big", .handler = Text(std::string(20 << 20, 'x'))},
         {.path = "/y", .handler = Text("y")}});
  TestClient slow(server_->port());
  slow.Send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
  char first = 0;
  ASSERT_EQ(::recv(slow.fd(), &first, 1, 0), 1);
  for (int i = 0; i < 5; ++i) {
    TestClient leaver(server_->port());
    leaver.Send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n");
    ASSERT_EQ(::recv(leaver.fd(), &first, 1, 0), 1);
  }
  EXPECT_EQ(StatusOf(Get("/y")), 200);
  EXPECT_EQ(BodyOf(Get("/big")).size(), size_t{20} << 20);
}

TEST_F(HttpServerTest, ARequestThatEndsAfterItsFirstLineIsForgotten) {
  Start({{.path = "/y", .handler = Text("y")}});
  TestClient(server_->port()).Send("GET /y HTTP/1.1\r\n");
  TestClient(server_->port())
      .Send("GET /y HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab");
  TestClient(server_->port()).Send("\x16\x03\x01 no HTTP\r\n\r\n");
  EXPECT_EQ(StatusOf(Get("/y")), 200);
}

TEST_F(HttpServerTest, AConnectionServesOneRequestAfterAnother) {
  Start({{.path = "/y", .handler = Text("answer")}});
  TestClient client(server_->port());
  const std::string request = "GET /y HTTP/1.1\r\nHost: localhost\r\n\r\n";
  client.Send(request + request);
  const std::string responses = client.Ask("GET", "/y");
  size_t answers = 0;
  for (size_t at = 0; (at = responses.find("answer", at)) != std::string::npos; ++at) ++answers;
  EXPECT_EQ(answers, 3U);
}

TEST_F(HttpServerTest, AHandlerThatThrowsIsAnInternalError) {
  Start({{.path = "/y", .handler = Answer([](const HttpRequest&) -> HttpResponse {
                          throw std::runtime_error("secret");
                        })}});
  const std::string response = Get("/y");
  EXPECT_EQ(StatusOf(response), 500);
  EXPECT_THAT(response, Not(HasSubstr("secret")));
}

TEST_F(HttpServerTest, StoppingCancelsCapturesAndSendsWhatTheyGathered) {
  std::latch started(2);
  Start({{.path = "/long", .long_running = true, .handler = Answer([&](const HttpRequest& request) {
                                                   started.count_down();
                                                   return HttpResponse{
                                                       .headers = {},
                                                       .body =
                                                           WaitForCancel(request) ? "part" : "all"};
                                                 })}});
  auto first = std::async(std::launch::async, [&] { return Get("/long"); });
  auto second = std::async(std::launch::async, [&] { return Get("/long"); });
  started.wait();
  const uint16_t port = server_->port();
  const auto asked = steady_clock::now();
  server_->Stop();
  EXPECT_LT(steady_clock::now() - asked, seconds(1));
  EXPECT_EQ(BodyOf(first.get()), "part");
  EXPECT_EQ(BodyOf(second.get()), "part");
  EXPECT_FALSE(TestClient(port).connected());
}

TEST_F(HttpServerTest, StoppingAnswersEvenForAHandlerThatDoesNotHeedIt) {
  std::latch started(1);
  std::promise<void> release;
  Start({{.path = "/long", .long_running = true, .handler = Answer([&](const HttpRequest&) {
                                                   started.count_down();
                                                   release.get_future().wait();
                                                   return HttpResponse{.headers = {},
                                                                       .body = "late"};
                                                 })}});
  auto response = std::async(std::launch::async, [&] { return Get("/long"); });
  started.wait();
  auto stopped = std::async(std::launch::async, [&] { server_->Stop(); });
  EXPECT_THAT(response.get(), Not(HasSubstr("late")));
  release.set_value();
  stopped.get();
}

TEST_F(HttpServerTest, ManyClientsAtOnceAreAllAnswered) {
  options_.max_short_requests = 64;
  Start({{.path = "/y", .handler = Text("y")}});
  std::vector<std::future<std::string>> answers;
  for (int i = 0; i < 40; ++i) {
    answers.push_back(std::async(std::launch::async, [&] { return Get("/y"); }));
  }
  for (auto& answer : answers) EXPECT_EQ(BodyOf(answer.get()), "y");
}

}  // namespace
}  // namespace hotpath
