// tail_calls: tail_caller calls tail_middle, which jumps to tail_target: the stack is tail_target
// <- tail_caller <- main, without tail_middle. And a function that ends in a call that never
// returns: its return address is the next function's first byte: endless <- calls_endless <- main.
#include <setjmp.h>

#include "workload.h"

static jmp_buf back;

TRUTH_FUNCTION int tail_target(int x) {
  SPIN(SPIN_100US);
  return x + 1;
}
TRUTH_FUNCTION int tail_middle(int x) { return tail_target(x + 1); }
TRUTH_FUNCTION int tail_caller(int x) { return tail_middle(x) * 3; }

TRUTH_FUNCTION __attribute__((noreturn)) void endless(void) {
  SPIN(SPIN_100US);
  longjmp(back, 1);
}
TRUTH_FUNCTION __attribute__((noreturn)) void calls_endless(int x) {
  volatile int kept[4] = {x, x, x, x};
  (void)kept;
  endless();
}

int main(int argc, char** argv) {
  workload_begin(argc, argv);
  volatile int x = 0;
  while (WORKLOAD_RUNNING()) {
    x = tail_caller(x);
    if (setjmp(back) == 0) calls_endless(x);
  }
  return 0;
}
