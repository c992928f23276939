// memory_growth: touches ROUNDS x 80 pages for the first time: 48 by grow_three, 16 by grow_one, 16
// by the kernel on behalf of grow_by_read; reserve_only maps 64 MiB a round and touches nothing.
#include <fcntl.h>
#include <sys/mman.h>

#include "workload.h"

enum { PAGE = 4096, MAPPED = 80 * PAGE };

static int zeros;

TRUTH_FUNCTION void grow_three(char* at) {
  for (int i = 0; i < 48; i++) *(volatile char*)(at + i * PAGE) = 1;
}

TRUTH_FUNCTION void grow_one(char* at) {
  for (int i = 0; i < 16; i++) *(volatile char*)(at + i * PAGE) = 1;
}

TRUTH_FUNCTION void grow_by_read(char* at) {
  if (read(zeros, at, 16 * PAGE) != 16 * PAGE) exit(1);
  NO_TAIL_CALL();
}

TRUTH_FUNCTION void reserve_only(void) {
  const size_t bytes = 64 << 20;
  char* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) exit(1);
  munmap(at, bytes);
  NO_TAIL_CALL();
}

int main(int argc, char** argv) {
  const long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 1000;
  zeros = open("/dev/zero", O_RDONLY);
  for (long i = 0; i < rounds; i++) {
    char* at = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return 1;
    madvise(at, MAPPED, MADV_NOHUGEPAGE);
    grow_three(at);
    grow_one(at + 48 * PAGE);
    grow_by_read(at + 64 * PAGE);
    munmap(at, MAPPED);
    reserve_only();
  }
  return 0;
}
