// signal_handler SECONDS [altstack]: a SIGALRM handler burns half the CPU: handler_work <- on_alarm
// <- __restore_rt <- interrupted_work <- interrupted_caller <- main. With "altstack" the handler
// runs on a stack of its own.
#include <sys/time.h>

#include "workload.h"

TRUTH_FUNCTION void handler_work(void) { SPIN(10 * SPIN_100US); }

TRUTH_FUNCTION void on_alarm(int signal_number) {
  (void)signal_number;
  handler_work();
  NO_TAIL_CALL();
}

TRUTH_FUNCTION void interrupted_work(void) { SPIN(SPIN_100US); }

TRUTH_FUNCTION void interrupted_caller(void) {
  for (int i = 0; i < 10; ++i) interrupted_work();
  NO_TAIL_CALL();
}

int main(int argc, char** argv) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_alarm;
  action.sa_flags = SA_RESTART;
  if (argc > 2 && strcmp(argv[2], "altstack") == 0) {
    stack_t stack;
    memset(&stack, 0, sizeof stack);
    stack.ss_size = 64 << 10;
    stack.ss_sp = malloc(stack.ss_size);
    if (sigaltstack(&stack, NULL) != 0) return 1;
    action.sa_flags |= SA_ONSTACK;
  }
  sigaction(SIGALRM, &action, NULL);
  struct itimerval every = {{0, 2000}, {0, 2000}};
  setitimer(ITIMER_REAL, &every, NULL);
  workload_begin(argc, argv);
  while (WORKLOAD_RUNNING()) interrupted_caller();
  return 0;
}
