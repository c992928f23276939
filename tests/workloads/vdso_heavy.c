// vdso_heavy: reads the clock in a loop; most samples fall into the vDSO: ([vdso]) <-
// clock_gettime <- vdso_caller <- main.
#include "workload.h"

TRUTH_FUNCTION long vdso_caller(void) {
  struct timespec now = {0, 0};
  long sum = 0;
  for (int i = 0; i < 1000; ++i) {
    clock_gettime(CLOCK_MONOTONIC, &now);
    sum += now.tv_nsec;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    sum += now.tv_nsec;
  }
  return sum;
}

int main(int argc, char** argv) {
  workload_begin(argc, argv);
  volatile long sum = 0;
  while (WORKLOAD_RUNNING()) sum += vdso_caller();
  return 0;
}
