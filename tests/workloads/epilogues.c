// epilogues: functions of a few instructions, so that samples fall on their first push, their pops
// and their ret; whatever the instruction, the caller is epilogue_caller.
#include "workload.h"

TRUTH_FUNCTION unsigned long tiny_plain(unsigned long x) { return x + 1; }

TRUTH_FUNCTION unsigned long tiny_push(unsigned long x) {
  __asm__ volatile("" : "+r"(x)::"rbx");
  return x;
}

TRUTH_FUNCTION unsigned long tiny_push_all(unsigned long x) {
  __asm__ volatile("" : "+r"(x)::"rbx", "rbp", "r12", "r13", "r14", "r15");
  return x;
}

TRUTH_FUNCTION unsigned long tiny_frame(unsigned long x) {
  volatile unsigned long locals[40];
  locals[0] = x;
  return locals[0] + 1;
}

// Leaves early on one path: an epilogue in the middle, and rules that have to come back after it.
TRUTH_FUNCTION unsigned long tiny_early(unsigned long x) {
  __asm__ volatile("" : "+r"(x)::"rbx", "r12");
  if (x & 1) return x + 1;
  __asm__ volatile("" : "+r"(x)::"r13");
  return x + 3;
}

TRUTH_FUNCTION unsigned long epilogue_caller(unsigned long x) {
  for (int i = 0; i < 10000; ++i) {
    x = tiny_plain(x);
    x = tiny_push(x);
    x = tiny_push_all(x);
    x = tiny_frame(x);
    x = tiny_early(x);
  }
  return x;
}

int main(int argc, char** argv) {
  workload_begin(argc, argv);
  volatile unsigned long x = 0;
  while (WORKLOAD_RUNNING()) x = epilogue_caller(x);
  return 0;
}
