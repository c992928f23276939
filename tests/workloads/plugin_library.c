// The shared library that plugin opens and closes while it runs.
#include "workload.h"

TRUTH_FUNCTION void plugin_work(void) { SPIN(SPIN_100US); }

void plugin_entry(int turns) {
  for (int i = 0; i < turns; ++i) plugin_work();
  NO_TAIL_CALL();
}
