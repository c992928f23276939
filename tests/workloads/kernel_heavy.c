// kernel_heavy: most of its time is the kernel's: kernel frames <- read <- read_caller <- main, and
// kernel frames <- syscall <- getppid_caller <- main.
#include <fcntl.h>
#include <sys/syscall.h>

#include "workload.h"

static char buffer[64 << 10];

TRUTH_FUNCTION void read_caller(int fd) {
  for (int i = 0; i < 100; ++i) {
    if (read(fd, buffer, sizeof buffer) < 0) exit(1);
  }
}

TRUTH_FUNCTION void getppid_caller(void) {
  for (int i = 0; i < 5000; ++i) syscall(SYS_getppid);
  NO_TAIL_CALL();
}

int main(int argc, char** argv) {
  const int fd = open("/dev/zero", O_RDONLY);
  if (fd < 0) return 1;
  workload_begin(argc, argv);
  while (WORKLOAD_RUNNING()) {
    read_caller(fd);
    getppid_caller();
  }
  return 0;
}
