// deep SECONDS DEPTH: deep_leaf under DEPTH frames of deep_level (400 when not given).
#include "workload.h"

TRUTH_FUNCTION void deep_leaf(void) { SPIN(SPIN_100US); }

TRUTH_FUNCTION void deep_level(int below) {
  if (below > 1) {
    deep_level(below - 1);
  } else {
    while (WORKLOAD_RUNNING()) deep_leaf();
  }
  NO_TAIL_CALL();
}

int main(int argc, char** argv) {
  const int depth = argc > 2 ? atoi(argv[2]) : 400;
  workload_begin(argc, argv);
  deep_level(depth);
  NO_TAIL_CALL();
  return 0;
}
