// The parent's hold on one child of the file worker: start, talk, end.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/files/worker_protocol.h"

namespace hotpath {

struct WorkerCounters {
  std::atomic<uint64_t> children_started{0};
  std::atomic<uint64_t> children_died{0};  // On a file or past its time; idle ones do not count.
};

// Thread-safe: exchanges follow one another. The child is in a session of its own, so that a
// terminal's Ctrl-C does not end it, and starts with no environment and no descriptor but its
// socket.
class WorkerProcess {
 public:
  WorkerProcess(std::string program, WorkerHello hello, WorkerCounters* counters)
      : program_(std::move(program)), hello_(hello), counters_(counters) {}
  ~WorkerProcess() { End(); }
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // Sends `request` with `fds` and waits for the answer; starts a child when there is none. An
  // error the child tells comes back as an error. Errors of its own: kTimeout (the child is ended),
  // kUnavailable (it died), kMalformed (its answer is no answer; ended), kSystem (cannot start).
  Result<WorkerReply> Exchange(WorkerRequest request, std::span<const int> fds,
                               std::chrono::milliseconds timeout);
  // Passes on what was made of an answer; a child whose answer did not hold is ended and counted.
  template <typename T>
  Result<T> Trust(Result<T> checked) {
    if (!checked) Discard();
    return checked;
  }
  // CPU time of the child that lives now; 0: there is none.
  uint64_t LiveCpuNs() const;
  // Ends the child when it has had nothing to do for kChildStale.
  void EndIfIdle();

 private:
  using Clock = std::chrono::steady_clock;

  void Discard();
  Result<void> Start();
  // Ends and reaps the child; tells how it went: "was killed by signal 9 (Killed)". Empty when
  // there was none or its status is unknown. `clean` is set when it had left on its own.
  std::string End(bool* clean = nullptr);
  // The answer to what was sent, not yet looked into.
  Result<WorkerReply> Await(Clock::time_point deadline);

  const std::string program_;
  const WorkerHello hello_;
  WorkerCounters* const counters_;
  std::mutex mutex_;            // Guards all below.
  std::atomic<pid_t> pid_{-1};  // -1: none. LiveCpuNs() reads it without the lock.
  Fd socket_;
  bool fresh_ = false;           // Has not answered yet.
  Clock::time_point last_sent_;  // Of a request; the child's own idle time begins no earlier.
};

}  // namespace hotpath
