// What every truth program shares: when it is hot, when it stops, and work that has no callees.
// Plain C, so that the static, musl and clang builds use it too.
#ifndef HOTPATH_TESTS_WORKLOADS_WORKLOAD_H
#define HOTPATH_TESTS_WORKLOADS_WORKLOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// A function that keeps its own frame and name: never inlined, cloned, split or merged.
#if defined(__clang__)
#define TRUTH_FUNCTION __attribute__((noinline, used))
#else
#define TRUTH_FUNCTION __attribute__((noinline, noipa, used))
#endif

// After a call: the call before it cannot become a jump.
#define NO_TAIL_CALL() __asm__ volatile("" ::: "memory")

// The array stays in the frame, whatever the optimizer knows.
#define KEEP(array) __asm__ volatile("" : : "r"(array) : "memory")

// Burns CPU in the function that holds it: no call, no memory, about 1 ns a turn. A macro, because
// an inlined function would be a frame of its own.
#define SPIN(turns)                                                          \
  do {                                                                       \
    unsigned long spin_x_ = 3;                                               \
    for (unsigned long spin_i_ = (turns); spin_i_ != 0; --spin_i_)           \
      __asm__ volatile("imul %0, %0\n" : "+r"(spin_x_)); /* 3 cycles each */ \
  } while (0)

// SPIN() turns that take some 100 us: long against a call, short against a sampling period.
#define SPIN_100US 90000ul

__attribute__((unused)) static volatile sig_atomic_t workload_stopped = 0;

static inline void workload_on_sigterm(int signal_number) {
  (void)signal_number;
  workload_stopped = 1;
}

// Until SIGTERM. Checked between calls of the hot functions.
#define WORKLOAD_RUNNING() (!workload_stopped)

// The seconds of argv[1] (none or 0: until SIGTERM), then "ready": the hot phase begins.
static inline void workload_begin(int argc, char** argv) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = workload_on_sigterm;
  action.sa_flags = SA_RESTART;
  sigaction(SIGTERM, &action, NULL);
  const double seconds = argc > 1 ? strtod(argv[1], NULL) : 0;
  if (seconds > 0) {
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGTERM;
    timer_t timer;
    struct itimerspec limit;
    memset(&limit, 0, sizeof limit);
    limit.it_value.tv_sec = (time_t)seconds;
    limit.it_value.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
        timer_settime(timer, 0, &limit, NULL) != 0) {
      perror("timer");
      exit(1);
    }
  }
  puts("ready");
  fflush(stdout);
}

#endif  // HOTPATH_TESTS_WORKLOADS_WORKLOAD_H
