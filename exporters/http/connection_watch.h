// Notices clients that went away while their request is worked on, and those too slow to ask.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "daemon/base/fd.h"

namespace hotpath {

// One thread that polls the sockets of the requests under way: libmicrohttpd does not look at a
// suspended connection. Thread-safe. A socket must stay open for as long as it is known here.
class ConnectionWatch {
 public:
  explicit ConnectionWatch(std::chrono::milliseconds request_timeout);
  ~ConnectionWatch();

  // Sets *cancelled when the peer of `socket` closes it, at once. Returns what Forget() takes.
  uint64_t Watch(int socket, std::shared_ptr<std::atomic<bool>> cancelled);
  void Forget(uint64_t watch);

  // From now on `connection` has the request timeout to send a whole request, however it drips;
  // then its socket is shut down.
  void StartTimeout(const void* connection, int socket);
  void StopTimeout(const void* connection);

 private:
  void Run();
  void Wake();
  void ShutDownSlow();

  struct Watched {
    int socket;
    std::shared_ptr<std::atomic<bool>> cancelled;
  };
  struct Timeout {
    int socket;
    std::chrono::steady_clock::time_point end;
  };

  const std::chrono::milliseconds request_timeout_;
  const Fd wake_;  // An eventfd.
  std::mutex mutex_;
  std::map<uint64_t, Watched> watched_;  // One for each request under way.
  std::map<const void*, Timeout> timeouts_;
  uint64_t next_watch_ = 1;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace hotpath
