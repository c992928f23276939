// Notices clients that went away while their request is worked on, and those too slow to ask.
#include "exporters/http/connection_watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <vector>

#include "exporters/http/blocked_signals.h"

namespace hotpath {
ConnectionWatch::ConnectionWatch(std::chrono::milliseconds request_timeout)
    : request_timeout_(request_timeout), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  const BlockedSignals blocked;
  thread_ = std::thread([this] { Run(); });
}

ConnectionWatch::~ConnectionWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
}

uint64_t ConnectionWatch::Watch(int socket, std::shared_ptr<std::atomic<bool>> cancelled) {
  uint64_t watch = 0;
  {
    const std::lock_guard lock(mutex_);
    watch = next_watch_++;
    watched_.emplace(watch, Watched{.socket = socket, .cancelled = std::move(cancelled)});
  }
  Wake();
  return watch;
}

void ConnectionWatch::Forget(uint64_t watch) {
  const std::lock_guard lock(mutex_);
  watched_.erase(watch);
}

void ConnectionWatch::StartTimeout(const void* connection, int socket) {
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    first = timeouts_.empty();
    timeouts_[connection] = {.socket = socket,
                             .end = std::chrono::steady_clock::now() + request_timeout_};
  }
  if (first) Wake();
}

void ConnectionWatch::StopTimeout(const void* connection) {
  const std::lock_guard lock(mutex_);
  timeouts_.erase(connection);
}

void ConnectionWatch::Wake() {
  const uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof one);
}

// The lock is held, so a socket that is still known is still open and the same.
void ConnectionWatch::ShutDownSlow() {
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(timeouts_, [&](const auto& entry) {
    if (now < entry.second.end) return false;
    ::shutdown(entry.second.socket, SHUT_RDWR);
    return true;
  });
}

void ConnectionWatch::Run() {
  std::vector<pollfd> polled;
  std::vector<uint64_t> watches;  // Of polled[i + 1].
  for (;;) {
    int timeout_ms = -1;
    polled.assign(1, {.fd = wake_.get(), .events = POLLIN, .revents = 0});
    watches.clear();
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      ShutDownSlow();
      for (const auto& [connection, timeout] : timeouts_) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(
            timeout.end - std::chrono::steady_clock::now());
        const int left_ms = std::max(1, static_cast<int>(left.count()));
        timeout_ms = timeout_ms < 0 ? left_ms : std::min(timeout_ms, left_ms);
      }
      for (const auto& [watch, watched] : watched_) {
        polled.push_back({.fd = watched.socket, .events = POLLRDHUP, .revents = 0});
        watches.push_back(watch);
      }
    }
    if (::poll(polled.data(), polled.size(), timeout_ms) <= 0) continue;
    uint64_t drained = 0;
    if (polled[0].revents != 0) (void)!::read(wake_.get(), &drained, sizeof drained);
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < watches.size(); ++i) {
      if (polled[i + 1].revents == 0) continue;
      // By then the socket may be closed and its number another's: the watch tells.
      const auto it = watched_.find(watches[i]);
      if (it == watched_.end()) continue;
      it->second.cancelled->store(true);
      watched_.erase(it);
    }
  }
}

}  // namespace hotpath
