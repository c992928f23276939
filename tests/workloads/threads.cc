// threads: a POSIX thread and a std::thread burn CPU: posix_work <- posix_worker <- start_thread <-
// clone3, and std_work <- (std::thread's frames) <- start_thread <- clone3. Threads have names.
#include <pthread.h>

#include <thread>

#include "workload.h"

extern "C" TRUTH_FUNCTION void posix_work() { SPIN(SPIN_100US); }
extern "C" TRUTH_FUNCTION void std_work() { SPIN(SPIN_100US); }

extern "C" TRUTH_FUNCTION void* posix_worker(void* argument) {
  while (WORKLOAD_RUNNING()) posix_work();
  return argument;
}

extern "C" TRUTH_FUNCTION void std_worker() {
  while (WORKLOAD_RUNNING()) std_work();
}

int main(int argc, char** argv) {
  pthread_t posix_thread;
  if (pthread_create(&posix_thread, nullptr, posix_worker, nullptr) != 0) return 1;
  pthread_setname_np(posix_thread, "posix-worker");
  std::thread std_thread(std_worker);
  pthread_setname_np(std_thread.native_handle(), "std-worker");
  workload_begin(argc, argv);
  pthread_join(posix_thread, nullptr);
  std_thread.join();
  return 0;
}
