// Captures without a kernel: the small window, at once or when the duration is over.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "daemon/profile/capture.h"
#include "small_window.h"

namespace hotpath::pprof {

// Waits for cancellation when asked for an hour; answers at once otherwise.
class FakeCaptureSource : public CaptureSource {
 public:
  Result<std::unique_ptr<Window>> Capture(const CaptureRequest& request,
                                          const std::atomic<bool>& cancelled) override {
    {
      const std::lock_guard lock(mutex_);
      ++captures_;
      ++under_way_;
      last_request_ = request;
    }
    changed_.notify_all();
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (request.duration >= std::chrono::hours(1) && !cancelled.load() &&
           std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const std::lock_guard lock(mutex_);
    --under_way_;
    changed_.notify_all();
    if (error_) return std::unexpected(*error_);
    return SmallWindow();
  }

  void FailWith(Error error) {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
  }
  CaptureRequest last_request() {
    const std::lock_guard lock(mutex_);
    return last_request_;
  }
  size_t captures() {
    const std::lock_guard lock(mutex_);
    return captures_;
  }
  // True once so many captures run at the same time; false after `limit`.
  bool WaitUnderWay(size_t count, std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [&] { return under_way_ == count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t captures_ = 0;
  size_t under_way_ = 0;
  CaptureRequest last_request_;
  std::optional<Error> error_;
};

}  // namespace hotpath::pprof
