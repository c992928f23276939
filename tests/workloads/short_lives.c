// short_lives CHILD COUNT MS [RATE]: starts COUNT processes of MS milliseconds of CPU, one after
// the other (or RATE a second), and prints what each of them used: "child PID START_NS END_NS
// CPU_NS" (Unix time), then "done".
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "workload.h"

static long long now_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

TRUTH_FUNCTION static void calibration_work(unsigned long turns) { SPIN(turns); }

static unsigned long turns_per_ms(void) {
  long long best_ns = 1ll << 60;
  for (int i = 0; i < 50; ++i) {
    const long long before = now_ns(CLOCK_MONOTONIC);
    calibration_work(SPIN_100US);
    const long long took = now_ns(CLOCK_MONOTONIC) - before;
    if (took < best_ns) best_ns = took;
  }
  return (unsigned long)(SPIN_100US * 1e6 / (double)best_ns);
}

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  const long count = strtol(argv[2], NULL, 10);
  const double rate = argc > 4 ? strtod(argv[4], NULL) : 0;
  char turns[32];
  snprintf(turns, sizeof turns, "%lu",
           (unsigned long)(strtod(argv[3], NULL) * (double)turns_per_ms()));
  char* const child_argv[] = {argv[1], turns, NULL};
  char* const child_env[] = {NULL};
  char* no_limit[] = {argv[0], NULL};
  workload_begin(1, no_limit);
  // A line on stdin starts the children, so that the profiler is there before the first of them.
  if (getchar() == EOF) return 1;

  const long long start_ns = now_ns(CLOCK_MONOTONIC);
  long started = 0;
  for (; started < count && WORKLOAD_RUNNING(); ++started) {
    if (rate > 0) {
      const long long at_ns = start_ns + (long long)((double)started / rate * 1e9);
      const struct timespec at = {at_ns / 1000000000ll, at_ns % 1000000000ll};
      clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    }
    pid_t child;
    const long long born_ns = now_ns(CLOCK_REALTIME);
    if (posix_spawn(&child, argv[1], NULL, NULL, child_argv, child_env) != 0) return 1;
    struct rusage used;
    if (wait4(child, NULL, 0, &used) != child) return 1;
    const long long cpu_ns = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000ll +
                             (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000ll;
    if (rate == 0) {
      printf("child %d %lld %lld %lld\n", (int)child, born_ns, now_ns(CLOCK_REALTIME), cpu_ns);
    }
  }
  puts("done");
  return 0;
}
