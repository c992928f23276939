// plugin SECONDS LIBRARY [DELAY_MS]: after the delay, opens the library, works in it for some
// 200 ms, closes it and opens it again, at another address: plugin_work <- plugin_entry <-
// plugin_driver <- main.
#include <dlfcn.h>
#include <sys/mman.h>

#include "workload.h"

TRUTH_FUNCTION void plugin_driver(void (*entry)(int)) {
  entry(20);
  NO_TAIL_CALL();
}

TRUTH_FUNCTION void plugin_wait(void) { SPIN(SPIN_100US); }

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const int delay_ms = argc > 3 ? atoi(argv[3]) : 0;
  workload_begin(argc, argv);
  for (int i = 0; i < delay_ms * 10; ++i) plugin_wait();
  while (WORKLOAD_RUNNING()) {
    void* library = dlopen(argv[2], RTLD_NOW);
    if (library == NULL) {
      fprintf(stderr, "%s\n", dlerror());
      return 1;
    }
    void (*entry)(int);
    void* symbol = dlsym(library, "plugin_entry");
    memcpy(&entry, &symbol, sizeof entry);
    for (int i = 0; i < 100 && WORKLOAD_RUNNING(); ++i) plugin_driver(entry);
    dlclose(library);
    // Takes the place the library had, so that the next one lands elsewhere.
    if (mmap(NULL, 64 << 10, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) return 1;
  }
  return 0;
}
