// short_child TURNS: one of the many that short_lives starts: short_work <- main for 3 ms.
#include "workload.h"

TRUTH_FUNCTION void short_work(unsigned long turns) { SPIN(turns); }

int main(int argc, char** argv) {
  short_work(argc > 1 ? strtoul(argv[1], NULL, 10) : SPIN_100US);
  NO_TAIL_CALL();
  return 0;
}
