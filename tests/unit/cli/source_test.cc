// Fetching from servers that behave and servers that do not.
#include "exporters/cli/source.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <thread>

#include "daemon/base/fd.h"

namespace hotpath::cli {
namespace {

// Answers one connection with fixed bytes, on a free port or a Unix socket, and keeps the request.
class OneAnswer {
 public:
  OneAnswer(std::string answer, const std::string& unix_path = "") : answer_(std::move(answer)) {
    if (unix_path.empty()) {
      listener_.Reset(::socket(AF_INET, SOCK_STREAM, 0));
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t size = sizeof address;
      EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
      ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
      port_ = ntohs(address.sin_port);
    } else {
      listener_.Reset(::socket(AF_UNIX, SOCK_STREAM, 0));
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      std::strncpy(address.sun_path, unix_path.c_str(), sizeof address.sun_path - 1);
      ::unlink(unix_path.c_str());
      EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    }
    EXPECT_EQ(::listen(listener_.get(), 4), 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~OneAnswer() { Join(); }

  std::string Request() {
    Join();
    return request_;
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  void Serve() {
    const Fd connection(::accept(listener_.get(), nullptr, nullptr));
    char buffer[4096];
    while (request_.find("\r\n\r\n") == std::string::npos) {
      const ssize_t size = ::read(connection.get(), buffer, sizeof buffer);
      if (size <= 0) break;
      request_.append(buffer, static_cast<size_t>(size));
    }
    size_t sent = 0;
    while (sent < answer_.size()) {
      const ssize_t size =
          ::send(connection.get(), answer_.data() + sent, answer_.size() - sent, MSG_NOSIGNAL);
      if (size <= 0) break;
      sent += static_cast<size_t>(size);
    }
  }
  void Join() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
  }

  std::string answer_, request_;
  Fd listener_;
  int port_ = 0;
  std::thread thread_;
};

std::string ProfileBytes() {
  pprof::Profile profile;
  profile.sample_types = {{"cpu", "nanoseconds"}};
  profile.period = 5;
  return pprof::EncodeGzip(profile);
}

std::string Ok(const std::string& body) {
  return "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST(LoadProfile, AsksADaemonByItsUrlForTenSeconds) {
  OneAnswer server(Ok(ProfileBytes()));
  const auto profile = LoadProfile(server.url(), {}, {});
  ASSERT_TRUE(profile.has_value()) << profile.error().message;
  EXPECT_EQ(profile->period, 5);
  EXPECT_TRUE(server.Request().starts_with("GET /debug/pprof/profile?seconds=10 HTTP/1.1\r\n"));
}

TEST(LoadProfile, FetchesAUrlWithAPathAsItIs) {
  OneAnswer server(Ok(ProfileBytes()));
  CaptureOptions capture;
  capture.duration = std::chrono::seconds(2);
  EXPECT_TRUE(LoadProfile(server.url() + "/x?a=b", capture, {}).has_value());
  EXPECT_TRUE(server.Request().starts_with("GET /x?a=b&seconds=2 HTTP/1.1\r\n"));
}

TEST(LoadProfile, TakesTheLocalDaemonsSocketFirst) {
  const std::string path = testing::TempDir() + "hp_" + std::to_string(getpid()) + ".sock";
  OneAnswer server(Ok(ProfileBytes()), path);
  SourceEnvironment environment;
  environment.daemon_socket = path;
  environment.daemon_url = "http://127.0.0.1:1";
  EXPECT_TRUE(LoadProfile("", {}, environment).has_value());
  EXPECT_FALSE(server.Request().empty());
  ::unlink(path.c_str());
}

TEST(LoadProfile, FallsBackToLoopbackWhenThereIsNoSocket) {
  OneAnswer server(Ok(ProfileBytes()));
  SourceEnvironment environment;
  environment.daemon_socket = "/nowhere/hotpathd.sock";
  environment.daemon_url = server.url();
  EXPECT_TRUE(LoadProfile("", {}, environment).has_value());
}

TEST(LoadProfile, ShowsWhatTheDaemonSaysWithoutItsControlCharacters) {
  OneAnswer server(
      "HTTP/1.1 503 Busy\r\nContent-Type: text/plain; charset=utf-8\r\nX-Go-Pprof: 1\r\n"
      "Connection: close\r\n\r\nprofiler \x1b[31mbusy: try later\n");
  const auto profile = LoadProfile(server.url(), {}, {});
  ASSERT_FALSE(profile.has_value());
  EXPECT_EQ(profile.error().code, ErrorCode::kBusy);
  EXPECT_TRUE(profile.error().message.ends_with(" answers 503: profiler [31mbusy: try later"))
      << profile.error().message;
}

TEST(LoadProfile, SaysThatAnAnswerIsNoProfile) {
  OneAnswer server(Ok("<html>"));
  const auto profile = LoadProfile(server.url() + "/index", {}, {});
  ASSERT_FALSE(profile.has_value());
  EXPECT_NE(profile.error().message.find("is no profile"), std::string::npos);
}

TEST(LoadProfile, AnAnswerThatBreaksOffIsAnError) {
  OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort");
  const auto profile = LoadProfile(server.url(), {}, {});
  ASSERT_FALSE(profile.has_value());
  EXPECT_EQ(profile.error().code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace hotpath::cli
