// The sockets a server listens on: TCP addresses and Unix paths.
#include "exporters/http/listen_socket.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <charconv>
#include <cstring>
#include <filesystem>
#include <optional>

namespace hotpath {
namespace {

constexpr int kBacklog = 128;
constexpr mode_t kSocketMode = 0660;

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  bool loopback = false;
  bool any = false;  // Both families.
};

std::optional<uint16_t> ParsePort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return port;
}

Address V4(in_addr ip, uint16_t port) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr = ip;
  in.sin_port = htons(port);
  Address address{.length = sizeof in, .loopback = ntohl(ip.s_addr) >> 24 == 127};
  std::memcpy(&address.storage, &in, sizeof in);
  return address;
}

Address V6(in6_addr ip, uint16_t port) {
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  in.sin6_addr = ip;
  in.sin6_port = htons(port);
  Address address{.length = sizeof in, .loopback = IN6_IS_ADDR_LOOPBACK(&ip) != 0};
  std::memcpy(&address.storage, &in, sizeof in);
  return address;
}

std::optional<Address> ParseAddress(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::optional<uint16_t> port = ParsePort(text.substr(colon + 1));
  if (!port) return std::nullopt;
  std::string host(text.substr(0, colon));
  if (host.empty()) {
    Address address = V6(in6addr_any, *port);
    address.any = true;
    return address;
  }
  if (host == "localhost") host = "127.0.0.1";
  if (in_addr v4{}; ::inet_pton(AF_INET, host.c_str(), &v4) == 1) return V4(v4, *port);
  if (!host.starts_with('[') || !host.ends_with(']')) return std::nullopt;
  host = host.substr(1, host.size() - 2);
  if (in6_addr v6{}; ::inet_pton(AF_INET6, host.c_str(), &v6) == 1) return V6(v6, *port);
  return std::nullopt;
}

uint16_t PortOf(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0) return 0;
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &storage, sizeof in);
    return ntohs(in.sin6_port);
  }
  sockaddr_in in{};
  std::memcpy(&in, &storage, sizeof in);
  return ntohs(in.sin_port);
}

}  // namespace

Result<TcpListener> ListenTcp(const std::string& text) {
  std::optional<Address> address = ParseAddress(text);
  if (!address) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("listen {}: give IP:PORT, such as 127.0.0.1:7878 or [::1]:7878", text));
  }
  Fd socket(::socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket && address->any && errno == EAFNOSUPPORT) {
    // A kernel without IPv6.
    in_addr any{};
    any.s_addr = htonl(INADDR_ANY);
    address = V4(any, *ParsePort(std::string_view(text).substr(text.rfind(':') + 1)));
    socket.Reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  }
  if (!socket) return FailErrno("listen " + text + ": socket");
  const int yes = 1;
  const int both_families = address->any ? 0 : 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (address->storage.ss_family == AF_INET6) {
    ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &both_families, sizeof both_families);
  }
  const auto* raw = reinterpret_cast<const sockaddr*>(&address->storage);
  if (::bind(socket.get(), raw, address->length) != 0) return FailErrno("listen " + text);
  if (::listen(socket.get(), kBacklog) != 0) return FailErrno("listen " + text);
  const uint16_t port = PortOf(socket.get());
  return TcpListener{.socket = std::move(socket), .port = port, .loopback = address->loopback};
}

Result<UnixListener> UnixListener::Listen(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("socket {}: the path must have 1 to {} bytes", path,
                            sizeof address.sun_path - 1));
  }
  path.copy(address.sun_path, path.size());
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);

  std::error_code ignored;  // bind says it better.
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty()) std::filesystem::create_directory(folder, ignored);

  struct stat status{};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode)) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("socket {}: exists and is no socket", path));
    }
    // Without blocking: a full backlog (EAGAIN) means that somebody is there.
    const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!probe) return FailErrno("socket " + path);
    if (::connect(probe.get(), raw, sizeof address) == 0 || errno == EAGAIN) {
      return Fail(ErrorCode::kBusy,
                  fmt::format("socket {}: another hotpathd answers there; stop it or give "
                              "another path",
                              path));
    }
    if (errno != ECONNREFUSED) return FailErrno("socket " + path + ": connect");
    if (::unlink(path.c_str()) != 0) return FailErrno("socket " + path + ": unlink");
  }

  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return FailErrno("socket " + path);
  // The path takes the mode of the socket, so that it is never open to others.
  if (::fchmod(socket.get(), kSocketMode) != 0) return FailErrno("socket " + path + ": fchmod");
  if (::bind(socket.get(), raw, sizeof address) != 0) return FailErrno("socket " + path + ": bind");
  if (::chmod(path.c_str(), kSocketMode) != 0 || ::lstat(path.c_str(), &status) != 0) {
    return FailErrno("socket " + path + ": chmod");
  }
  UnixListener listener(std::move(socket), path, status.st_ino);
  if (::listen(listener.fd(), kBacklog) != 0) return FailErrno("socket " + path + ": listen");
  return listener;
}

UnixListener::~UnixListener() {
  if (!socket_) return;
  struct stat status{};
  if (::lstat(path_.c_str(), &status) == 0 && status.st_ino == inode_) ::unlink(path_.c_str());
}

}  // namespace hotpath
