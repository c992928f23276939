// bursts SECONDS BURST_MS SHARE: burns BURST_MS of CPU in burst_work, sleeps so that SHARE of the
// time is burnt, and so on.
#include "workload.h"

static long long now_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

TRUTH_FUNCTION void burst_work(unsigned long turns) { SPIN(turns); }

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const double burst_ns = 1e6 * strtod(argv[2], NULL);
  const double share = strtod(argv[3], NULL);
  // The fastest of several runs: one that nobody interrupted.
  long long best_ns = 1ll << 60;
  for (int i = 0; i < 50; ++i) {
    const long long before_ns = now_ns(CLOCK_MONOTONIC);
    burst_work(SPIN_100US);
    const long long took_ns = now_ns(CLOCK_MONOTONIC) - before_ns;
    if (took_ns < best_ns) best_ns = took_ns;
  }
  const unsigned long turns = (unsigned long)(SPIN_100US * burst_ns / (double)best_ns);
  workload_begin(argc, argv);
  // Sleeps between half and one and a half of the mean, so that bursts of two programs meet in
  // every way.
  unsigned int seed = (unsigned int)getpid();
  while (WORKLOAD_RUNNING()) {
    burst_work(turns);
    const double sleep_ns =
        burst_ns * (1 / share - 1) * (0.5 + (double)rand_r(&seed) / (double)RAND_MAX);
    const struct timespec pause = {(time_t)(sleep_ns / 1e9), (long)sleep_ns % 1000000000l};
    nanosleep(&pause, NULL);
  }
  return 0;
}
