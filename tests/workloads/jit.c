// jit: machine code written at run time, with frame pointers and a perf map: jit_inner <- jit_outer
// <- jit_driver <- main; main and jit_driver keep no frame pointer.
#include <stdint.h>
#include <sys/mman.h>

#include "workload.h"

typedef void (*JitFunction)(unsigned long turns);

// jit_inner: push rbp; mov rbp,rsp; 1: imul rax,rax; dec rdi; jnz 1b; pop rbp; ret
static const uint8_t kInner[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x0f, 0xaf, 0xc0,
                                 0x48, 0xff, 0xcf, 0x75, 0xf7, 0x5d, 0xc3};
// jit_outer: push rbp; mov rbp,rsp; movabs rax,inner; call rax; nop; pop rbp; ret
static const uint8_t kOuter[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0xb8, 0,    0,    0,   0,
                                 0,    0,    0,    0,    0xff, 0xd0, 0x90, 0x5d, 0xc3};
enum { kInnerAt = 0x100, kOuterAt = 0x200, kCodeBytes = 4096 };

TRUTH_FUNCTION void jit_driver(JitFunction outer) {
  for (int i = 0; i < 10; ++i) outer(SPIN_100US);
  NO_TAIL_CALL();
}

int main(int argc, char** argv) {
  uint8_t* code =
      mmap(NULL, kCodeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (code == MAP_FAILED) return 1;
  memcpy(code + kInnerAt, kInner, sizeof kInner);
  memcpy(code + kOuterAt, kOuter, sizeof kOuter);
  const uint8_t* inner = code + kInnerAt;
  memcpy(code + kOuterAt + 6, &inner, sizeof inner);
  if (mprotect(code, kCodeBytes, PROT_READ | PROT_EXEC) != 0) return 1;

  char path[64];
  snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
  FILE* map = fopen(path, "w");
  if (map == NULL) return 1;
  fprintf(map, "%lx %zx jit_inner\n", (unsigned long)(code + kInnerAt), sizeof kInner);
  fprintf(map, "%lx %zx jit_outer\n", (unsigned long)(code + kOuterAt), sizeof kOuter);
  fclose(map);

  workload_begin(argc, argv);
  while (WORKLOAD_RUNNING()) jit_driver((JitFunction)(uintptr_t)(code + kOuterAt));
  unlink(path);
  return 0;
}
