// rbx_frame SECONDS: the CFA of rbx_frame is rbx + 16, as that of the dynamic linker's lazy
// binding, and frames below it save rbx and use it for something else. Half of the time rbx_leaf <-
// rbx_pushes <- rbx_realigns <- rbx_frame <- rbx_caller <- main, the other half rbx_leaf
// <- rbx_frame. A SIGPROF handler, by CPU time, burns too: rbx_leaf <- rbx_pushes <- on_tick <-
// __restore_rt <- any of these, with the interrupted rbx in the signal's frame.
#include <sys/time.h>

#include "workload.h"

TRUTH_FUNCTION void rbx_leaf(void) { SPIN(SPIN_100US); }

// Calls `next` on a stack that is aligned and moved by `bytes`: only rbx knows from where.
void rbx_frame(void (*next)(void), size_t bytes);
// Saves rbx under an aligned stack, where gcc and we find it by rbp; calls rbx_pushes.
void rbx_realigns(void);
// Pushes rbx; calls rbx_leaf.
void rbx_pushes(void);

__asm__(
    ".text\n"
    ".type rbx_frame, @function\n"
    "rbx_frame:\n"
    "  .cfi_startproc\n"
    "  push %rbx\n"
    "  .cfi_def_cfa_offset 16\n"
    "  .cfi_offset %rbx, -16\n"
    "  mov %rsp, %rbx\n"
    "  .cfi_def_cfa_register %rbx\n"
    "  sub %rsi, %rsp\n"
    "  and $-64, %rsp\n"
    "  call *%rdi\n"
    "  mov %rbx, %rsp\n"
    "  .cfi_def_cfa_register %rsp\n"
    "  pop %rbx\n"
    "  .cfi_def_cfa_offset 8\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size rbx_frame, . - rbx_frame\n"

    ".type rbx_realigns, @function\n"
    "rbx_realigns:\n"
    "  .cfi_startproc\n"
    "  lea 8(%rsp), %r10\n"
    "  .cfi_def_cfa %r10, 0\n"
    "  and $-64, %rsp\n"
    "  push -8(%r10)\n"
    "  push %rbp\n"
    "  mov %rsp, %rbp\n"
    "  .cfi_escape 0x10, 6, 2, 0x76, 0\n"  // rbp is at rbp.
    "  push %r10\n"
    "  .cfi_escape 0x0f, 3, 0x76, 0x78, 0x06\n"  // The CFA is at rbp - 8.
    "  push %rbx\n"
    "  .cfi_escape 0x10, 3, 2, 0x76, 0x70\n"  // rbx is at rbp - 16.
    "  mov $0x5a5a5a5a, %ebx\n"
    "  call rbx_pushes\n"
    "  mov -16(%rbp), %rbx\n"
    "  mov -8(%rbp), %r10\n"
    "  .cfi_def_cfa %r10, 0\n"
    "  leave\n"
    "  .cfi_same_value %rbp\n"
    "  .cfi_same_value %rbx\n"
    "  lea -8(%r10), %rsp\n"
    "  .cfi_def_cfa %rsp, 8\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size rbx_realigns, . - rbx_realigns\n"

    ".type rbx_pushes, @function\n"
    "rbx_pushes:\n"
    "  .cfi_startproc\n"
    "  push %rbx\n"
    "  .cfi_def_cfa_offset 16\n"
    "  .cfi_offset %rbx, -16\n"
    "  mov $8, %ebx\n"
    "  call rbx_leaf\n"
    "  pop %rbx\n"
    "  .cfi_def_cfa_offset 8\n"
    "  ret\n"
    "  .cfi_endproc\n"
    ".size rbx_pushes, . - rbx_pushes\n");

TRUTH_FUNCTION void on_tick(int signal_number) {
  (void)signal_number;
  for (int i = 0; i < 10; ++i) rbx_pushes();
  NO_TAIL_CALL();
}

TRUTH_FUNCTION void rbx_caller(size_t bytes) {
  rbx_frame(rbx_realigns, bytes);
  rbx_frame(rbx_leaf, bytes);
  NO_TAIL_CALL();
}

int main(int argc, char** argv) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_tick;
  action.sa_flags = SA_RESTART;
  sigaction(SIGPROF, &action, NULL);
  struct itimerval every = {{0, 2000}, {0, 2000}};
  setitimer(ITIMER_PROF, &every, NULL);
  workload_begin(argc, argv);
  for (size_t bytes = 0; WORKLOAD_RUNNING(); bytes = (bytes + 1000) % 50000) rbx_caller(bytes);
  return 0;
}
