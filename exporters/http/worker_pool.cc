// Threads for requests: one a request, never more than a bound.
#include "exporters/http/worker_pool.h"

#include "exporters/http/blocked_signals.h"

namespace hotpath {

bool WorkerPool::TryRun(std::function<void()> job, std::function<void()> done) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_ || running_ == max_threads_) return false;
    if (threads_.size() == running_) {
      const BlockedSignals blocked;
      threads_.emplace_back([this] { Work(); });
    }
    ++running_;
    jobs_.push_back({.run = std::move(job), .done = std::move(done)});
  }
  ready_.notify_one();
  return true;
}

void WorkerPool::Work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ready_.wait(lock, [&] { return closed_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    {
      const Job job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job.run();
      lock.lock();
      --running_;
      lock.unlock();
      job.done();
    }
    lock.lock();
  }
}

void WorkerPool::Join() {
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    threads.swap(threads_);
  }
  ready_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace hotpath
