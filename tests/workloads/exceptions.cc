// exceptions: throws through 10 frames, over and over: samples inside the C++ unwinder still reach
// main: _Unwind_... <- __cxa_throw <- throw_level (10 times) <- catch_loop <- main.
#include <stdexcept>

#include "workload.h"

extern "C" TRUTH_FUNCTION void throw_level(int below) {
  if (below > 1) {
    throw_level(below - 1);
  } else {
    throw std::runtime_error("thrown on purpose");
  }
  NO_TAIL_CALL();
}

extern "C" TRUTH_FUNCTION int catch_loop() {
  int caught = 0;
  for (int i = 0; i < 100; ++i) {
    try {
      throw_level(10);
    } catch (const std::runtime_error&) {
      ++caught;
    }
  }
  return caught;
}

int main(int argc, char** argv) {
  workload_begin(argc, argv);
  volatile int caught = 0;
  while (WORKLOAD_RUNNING()) caught = caught + catch_loop();
  return 0;
}
