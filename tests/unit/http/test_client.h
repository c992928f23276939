// A client that sends exactly the bytes it is told to.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <string_view>

#include "daemon/base/fd.h"

namespace hotpath {

class TestClient {
 public:
  explicit TestClient(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    Connect(reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }
  explicit TestClient(const std::string& path)
      : socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    Connect(reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }

  bool connected() const { return connected_; }
  int fd() const { return socket_.get(); }

  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // Everything until the server closes; at most 20 s between two reads.
  std::string ReadAll() {
    std::string text;
    std::string part(64 << 10, '\0');
    for (;;) {
      const ssize_t count = ::recv(socket_.get(), part.data(), part.size(), 0);
      if (count <= 0) return text;
      text.append(part, 0, static_cast<size_t>(count));
    }
  }

  // One request on a connection of its own, which the server closes.
  std::string Ask(const std::string& method, const std::string& target,
                  const std::string& headers = "Host: localhost\r\n",
                  const std::string& body = {}) {
    std::string request = method + ' ' + target + " HTTP/1.1\r\n" + headers;
    if (!body.empty()) request += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    Send(request + "Connection: close\r\n\r\n" + body);
    return ReadAll();
  }

 private:
  void Connect(const sockaddr* address, socklen_t length) {
    const timeval limit{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    connected_ = ::connect(socket_.get(), address, length) == 0;
  }

  Fd socket_;
  bool connected_ = false;
};

inline int StatusOf(std::string_view response) {
  return response.starts_with("HTTP/1.1 ") ? std::stoi(std::string(response.substr(9, 3))) : -1;
}
inline std::string BodyOf(const std::string& response) {
  const size_t end = response.find("\r\n\r\n");
  return end == std::string::npos ? std::string() : response.substr(end + 4);
}

}  // namespace hotpath
