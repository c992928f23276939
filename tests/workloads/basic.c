// basic: basic_leaf <- basic_caller <- main, built in every way a binary can be linked:
// PIE, static, static-PIE, musl, clang, stripped, .debug_frame only, frame pointers only.
#include "workload.h"

// Touches its stack, for gcc gives a leaf that does not no frame even where frame pointers are
// kept.
TRUTH_FUNCTION void basic_leaf(void) {
  char frame[8];
  KEEP(frame);
  SPIN(SPIN_100US);
}

// Holds values across the calls, so that it saves registers and its frame has a size.
TRUTH_FUNCTION unsigned long basic_caller(unsigned long turns, unsigned long seed) {
  unsigned long sum = seed;
  for (unsigned long i = 0; i < turns; ++i) {
    basic_leaf();
    sum = sum * 31 + i;
  }
  return sum;
}

int main(int argc, char** argv) {
  workload_begin(argc, argv);
  volatile unsigned long sum = 0;
  while (WORKLOAD_RUNNING()) sum += basic_caller(10, sum);
  return 0;
}
