// plt_heavy: calls tiny functions of a shared library, so that samples fall into the PLT stubs:
// plt_callee_X@plt <- plt_caller <- main.
#include "workload.h"

unsigned long plt_callee_a(unsigned long x);
unsigned long plt_callee_b(unsigned long x);
unsigned long plt_callee_c(unsigned long x);
unsigned long plt_callee_d(unsigned long x);

TRUTH_FUNCTION unsigned long plt_caller(unsigned long x) {
  for (int i = 0; i < 20000; ++i) {
    x = plt_callee_a(x);
    x = plt_callee_b(x);
    x = plt_callee_c(x);
    x = plt_callee_d(x);
  }
  return x;
}

int main(int argc, char** argv) {
  workload_begin(argc, argv);
  volatile unsigned long x = 0;
  while (WORKLOAD_RUNNING()) x = plt_caller(x);
  return 0;
}
