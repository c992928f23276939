// ratio: ratio_two burns twice the CPU of ratio_one; they take turns every 300 us.
#include "workload.h"

TRUTH_FUNCTION void ratio_one(void) { SPIN(SPIN_100US); }
TRUTH_FUNCTION void ratio_two(void) { SPIN(2 * SPIN_100US); }

TRUTH_FUNCTION void ratio_driver(void) {
  ratio_one();
  ratio_two();
  NO_TAIL_CALL();
}

int main(int argc, char** argv) {
  workload_begin(argc, argv);
  while (WORKLOAD_RUNNING()) ratio_driver();
  return 0;
}
