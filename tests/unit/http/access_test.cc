// Tokens, loopback names and listening sockets.
#include "exporters/http/access.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "exporters/http/listen_socket.h"
#include "test_client.h"

namespace hotpath {
namespace {

using ::testing::HasSubstr;

class AccessTest : public testing::Test {
 protected:
  AccessTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "hotpath_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~AccessTest() override { std::filesystem::remove_all(folder_); }
  std::string Path(const char* name) const { return (folder_ / name).string(); }
  std::string Write(const std::string& text) const {
    std::ofstream(Path("token")) << text;
    return Path("token");
  }
  std::filesystem::path folder_;
};

TEST_F(AccessTest, OnlyTheTokenOfTheFileIsAllowed) {
  const auto token = BearerToken::FromFile(Write("0123456789abcdef\n"));
  ASSERT_TRUE(token) << token.error().message;
  EXPECT_TRUE(token->Allows("Bearer 0123456789abcdef"));
  EXPECT_TRUE(token->Allows("bearer  0123456789abcdef "));
  for (const char* wrong : {"", "Bearer", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef",
                            "Bearer 0123456789abcdeF", "Bearer 0123456789abcde",
                            "Bearer 0123456789abcdef0123456789abcdef"}) {
    EXPECT_FALSE(token->Allows(wrong)) << wrong;
  }
}

TEST_F(AccessTest, ATokenThatIsShortOrSeveralWordsOrMissingIsNone) {
  EXPECT_FALSE(BearerToken::FromFile(Write("short")));
  EXPECT_FALSE(BearerToken::FromFile(Write("0123456789 abcdef0123")));
  EXPECT_FALSE(BearerToken::FromFile(Write(std::string(5000, 'x'))));
  EXPECT_FALSE(BearerToken::FromFile(Write("")));
  EXPECT_FALSE(BearerToken::FromFile(Path("none")));
}

TEST(LoopbackHostTest, OnlyLoopbacksNamesAre) {
  for (const char* host : {"", "localhost", "LOCALHOST:7878", "127.0.0.1", "127.0.0.1:1",
                           "127.8.9.1", "[::1]", "[::1]:7878"}) {
    EXPECT_TRUE(IsLoopbackHost(host)) << host;
  }
  for (const char* host : {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example",
                           "127.evil", "[::2]", "[::1", "[::1]x", "::1", "10.0.0.1:7878"}) {
    EXPECT_FALSE(IsLoopbackHost(host)) << host;
  }
}

TEST(ListenTcpTest, AnAddressSaysWhetherItIsLoopback) {
  const auto v4 = ListenTcp("127.0.0.1:0");
  ASSERT_TRUE(v4) << v4.error().message;
  EXPECT_TRUE(v4->loopback);
  EXPECT_NE(v4->port, 0);
  EXPECT_FALSE(ListenTcp("0.0.0.0:0")->loopback);
  EXPECT_FALSE(ListenTcp(":0")->loopback);
  EXPECT_TRUE(ListenTcp("localhost:0")->loopback);
  if (const auto v6 = ListenTcp("[::1]:0")) {
    EXPECT_TRUE(v6->loopback);
  }
}

TEST(ListenTcpTest, WhatIsNoAddressIsRefusedAndAPortInUseToo) {
  for (const char* text : {"", "7878", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "host:1",
                           "[::1]", "::1:7", "[127.0.0.1]:1"}) {
    const auto listener = ListenTcp(text);
    ASSERT_FALSE(listener) << text;
    EXPECT_EQ(listener.error().code, ErrorCode::kInvalidArgument) << text;
  }
  const auto first = ListenTcp("127.0.0.1:0");
  const auto second = ListenTcp("127.0.0.1:" + std::to_string(first->port));
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("Address already in use"));
}

TEST_F(AccessTest, AUnixSocketIsForOwnerAndGroupAndGoesWithItsListener) {
  const std::string path = Path("made/s");
  {
    const auto listener = UnixListener::Listen(path);
    ASSERT_TRUE(listener) << listener.error().message;
    struct stat status{};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0660U);
    EXPECT_TRUE(TestClient(path).connected());
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(AccessTest, AStaleSocketIsReplacedAndALiveOneIsNot) {
  const std::string path = Path("s");
  auto live = UnixListener::Listen(path);
  ASSERT_TRUE(live);
  const auto second = UnixListener::Listen(path);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_TRUE(TestClient(path).connected());

  // What a killed daemon leaves behind.
  const std::string stale = Path("stale");
  {
    const Fd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    stale.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(stale));
  EXPECT_TRUE(UnixListener::Listen(stale));
}

TEST_F(AccessTest, AFileThatIsNoSocketIsLeftAlone) {
  const auto listener = UnixListener::Listen(Write("precious"));
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::exists(Path("token")));
  EXPECT_FALSE(UnixListener::Listen(Path(std::string(120, 'x').c_str())));
}

}  // namespace
}  // namespace hotpath
