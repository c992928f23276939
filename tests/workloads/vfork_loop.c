// vfork_loop: children that borrow the parent's stack: vfork_child_work <- vfork_caller <- main in
// the child, and kernel frames <- vfork <- vfork_caller <- main in both, with the return address of
// vfork in a register.
#include <sys/wait.h>

#include "workload.h"

TRUTH_FUNCTION void vfork_child_work(void) { SPIN(5 * SPIN_100US); }

TRUTH_FUNCTION void vfork_caller(void) {
  const pid_t child = vfork();
  if (child == 0) {
    vfork_child_work();
    _exit(0);
  }
  waitpid(child, NULL, 0);
  NO_TAIL_CALL();
}

int main(int argc, char** argv) {
  workload_begin(argc, argv);
  while (WORKLOAD_RUNNING()) vfork_caller();
  return 0;
}
