// Threads made in this scope leave signals to the main thread, and SIGPIPE to nobody.
#pragma once

#include <pthread.h>

#include <csignal>

namespace hotpath {

// Blocks all signals in this thread for its life time; new threads inherit that for theirs.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace hotpath
