// recursion: two functions call each other 40 deep: recursion_leaf <- recursion_odd <-
// recursion_even <- recursion_odd <- ... <- recursion_even <- main. One of them grows its frame.
#include "workload.h"

TRUTH_FUNCTION void recursion_leaf(void) { SPIN(SPIN_100US); }

TRUTH_FUNCTION void recursion_odd(int below);

TRUTH_FUNCTION void recursion_even(int below) {
  recursion_odd(below - 1);
  NO_TAIL_CALL();
}

TRUTH_FUNCTION void recursion_odd(int below) {
  char frame[200];
  KEEP(frame);
  if (below > 1) {
    recursion_even(below - 1);
  } else {
    recursion_leaf();
  }
  KEEP(frame);
}

int main(int argc, char** argv) {
  workload_begin(argc, argv);
  while (WORKLOAD_RUNNING()) recursion_even(40);
  return 0;
}
