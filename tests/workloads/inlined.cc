// inlined: one function with two levels of inlining; the test looks the lines up by their marks.
#include "workload.h"

static inline __attribute__((always_inline)) void inlined_inner(unsigned long turns) {
  unsigned long x = 3;
  for (unsigned long i = turns; i != 0; --i) {
    __asm__ volatile("imul %0, %0\n imul %0, %0\n imul %0, %0\n" : "+r"(x));  // MARK inner
  }
}

static inline __attribute__((always_inline)) void inlined_middle(unsigned long turns) {
  inlined_inner(turns);  // MARK middle
}

extern "C" TRUTH_FUNCTION void inlined_outer(unsigned long turns) {
  inlined_middle(turns);  // MARK outer
}

int main(int argc, char** argv) {
  workload_begin(argc, argv);
  while (WORKLOAD_RUNNING()) inlined_outer(SPIN_100US);  // MARK main
  return 0;
}
