// The sockets a server listens on: TCP addresses and Unix paths.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace hotpath {

struct TcpListener {
  Fd socket;
  uint16_t port = 0;      // The real one, where 0 was asked for.
  bool loopback = false;  // Only this machine can connect.
};

// `address` is "127.0.0.1:7878", "[::1]:7878", "localhost:7878", or ":7878" for every address of
// both families. Port 0: any free one.
// Errors: kInvalidArgument (no such form), FailErrno's of bind and listen.
Result<TcpListener> ListenTcp(const std::string& address);

// Listens on a path, mode 0660, removed when destroyed. Move-only.
class UnixListener {
 public:
  // Makes the folder when it is missing. A socket that nobody answers is removed first.
  // Errors: kBusy when somebody answers there; kInvalidArgument when the path is too long or is
  // no socket; FailErrno's.
  static Result<UnixListener> Listen(const std::string& path);

  UnixListener(UnixListener&& other) noexcept = default;
  UnixListener& operator=(UnixListener&& other) = delete;
  ~UnixListener();

  int fd() const { return socket_.get(); }

 private:
  UnixListener(Fd socket, std::string path, ino_t inode)
      : socket_(std::move(socket)), path_(std::move(path)), inode_(inode) {}
  Fd socket_;
  std::string path_;
  ino_t inode_;  // Of the path when it was bound: another's socket is not removed.
};

}  // namespace hotpath
