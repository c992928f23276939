// stack_shapes: frames whose size or place is not a constant: frame_leaf under alloca_frame (size
// known at run time), overaligned_frame (stack realigned to 64), drap_frame (both: the CFA is an
// expression), big_frame (over 64 KiB) and red_zone_caller (locals below the stack pointer).
// Each burns in itself too: alloca_frame as a leaf, and so on.
#include <alloca.h>

#include "workload.h"

TRUTH_FUNCTION void frame_leaf(volatile char* memory) {
  memory[0] = 1;
  SPIN(SPIN_100US / 4);
}

TRUTH_FUNCTION void alloca_frame(size_t bytes) {
  volatile char* memory = alloca(bytes);
  frame_leaf(memory);
  SPIN(SPIN_100US / 4);
  memory[bytes - 1] = 2;
}

TRUTH_FUNCTION void overaligned_frame(size_t bytes) {
  _Alignas(64) volatile char memory[256];
  frame_leaf(memory);
  SPIN(SPIN_100US / 4);
  memory[bytes % sizeof memory] = 2;
}

TRUTH_FUNCTION void drap_frame(size_t bytes, long a, long b, long c, long d, long e,
                               long on_stack) {
  _Alignas(64) volatile char memory[256];
  volatile char* more = alloca(bytes + (size_t)on_stack);
  memory[0] = (char)(a + b + c + d + e);
  frame_leaf(more);
  SPIN(SPIN_100US / 4);
  more[bytes - 1] = memory[0];
}

TRUTH_FUNCTION void big_frame(size_t bytes) {
  volatile char memory[200 << 10];
  frame_leaf(memory);
  SPIN(SPIN_100US / 4);
  memory[bytes % sizeof memory] = 2;
}

// A leaf with 96 bytes of locals and no frame: they live in the red zone.
TRUTH_FUNCTION unsigned long red_zone_leaf(unsigned long x) {
  volatile unsigned long locals[12];
  for (int i = 0; i < 12; ++i) locals[i] = x;
  SPIN(SPIN_100US / 2);
  return locals[x % 12];
}

TRUTH_FUNCTION unsigned long red_zone_caller(unsigned long x) { return red_zone_leaf(x) + 1; }

int main(int argc, char** argv) {
  workload_begin(argc, argv);
  volatile unsigned long x = 1000;
  while (WORKLOAD_RUNNING()) {
    alloca_frame(x % 5000 + 100);
    overaligned_frame(x);
    drap_frame(x % 3000 + 100, 1, 2, 3, 4, 5, 64);
    big_frame(x);
    x += red_zone_caller(x) % 1000 + 1;
  }
  return 0;
}
