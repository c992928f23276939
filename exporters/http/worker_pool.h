// Threads for requests: one a request, never more than a bound.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace hotpath {

// Threads are made when first needed and kept. A job runs at once or is refused: none waits.
// Thread-safe. All signals are blocked in its threads.
class WorkerPool {
 public:
  explicit WorkerPool(size_t max_threads) : max_threads_(max_threads) {}
  ~WorkerPool() { Join(); }

  // Runs `job`, then `done`, which must not block: by then the job no longer counts, so that who
  // learns of its end can have the next. False when every thread is at work, or after Join().
  [[nodiscard]] bool TryRun(std::function<void()> job, std::function<void()> done);
  // Waits for all jobs and ends the threads.
  void Join();

 private:
  struct Job {
    std::function<void()> run, done;
  };
  void Work();

  const size_t max_threads_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Job> jobs_;  // Never more than max_threads_.
  size_t running_ = 0;    // Jobs in jobs_ and in threads; at most max_threads_.
  bool closed_ = false;
  std::vector<std::thread> threads_;  // At least running_ of them.
};

}  // namespace hotpath
