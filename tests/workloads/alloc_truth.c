// alloc_truth: malloc from eight sites at known shares, counted by itself (alloc_truth.h).
//   alloc_truth SECONDS FILE [THREADS [SPIN [BURST_CALLS PAUSE_US work|sleep]]]
// site_0 to site_7 <- allocate <- worker. Shares of calls: 24, 16, 10, 6, 4, 2, 1 and 1 of 64;
// sizes 16 to 4096 bytes. Each thread keeps 1,024 blocks and frees the oldest. SPIN turns of about
// 1 ns pass between calls, in thread i (i + 1) times as many; after BURST_CALLS calls (0: never) a
// thread works or sleeps for PAUSE_US.
#include "alloc_truth.h"

#include <pthread.h>
#include <sys/syscall.h>

#include "workload.h"

#define SITE(number, size)                                           \
  TRUTH_FUNCTION void* site_##number(struct alloc_truth_thread* t) { \
    alloc_truth_count(t, number, size);                              \
    void* block = malloc(size);                                      \
    NO_TAIL_CALL();                                                  \
    return block;                                                    \
  }
SITE(0, 16)
SITE(1, 32)
SITE(2, 64)
SITE(3, 128)
SITE(4, 256)
SITE(5, 512)
SITE(6, 1024)
SITE(7, 4096)

enum { LIVE = 1024 };

static struct alloc_truth* truth;
static unsigned long spin = 100;
static unsigned long burst_calls = 0;
static unsigned long pause_us = 0;
static int sleeps = 0;

TRUTH_FUNCTION void* allocate(struct alloc_truth_thread* thread, unsigned random) {
  void* block;
  if (random < 24) {
    block = site_0(thread);
  } else if (random < 40) {
    block = site_1(thread);
  } else if (random < 50) {
    block = site_2(thread);
  } else if (random < 56) {
    block = site_3(thread);
  } else if (random < 60) {
    block = site_4(thread);
  } else if (random < 62) {
    block = site_5(thread);
  } else if (random < 63) {
    block = site_6(thread);
  } else {
    block = site_7(thread);
  }
  NO_TAIL_CALL();
  return block;
}

static void pause_thread(void) {
  if (sleeps) {
    usleep((useconds_t)pause_us);
  } else {
    SPIN(SPIN_100US / 100 * pause_us);
  }
}

TRUTH_FUNCTION void* worker(void* argument) {
  const size_t index = (size_t)argument;
  struct alloc_truth_thread* thread = &truth->thread[index];
  __atomic_store_n(&thread->tid, (uint64_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
  void* live[LIVE] = {NULL};
  const unsigned long turns = spin * (index + 1);
  uint64_t random = 0x9e3779b97f4a7c15ull * (index + 1);
  unsigned long calls = 0;
  while (WORKLOAD_RUNNING()) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    void** slot = &live[calls % LIVE];
    free(*slot);
    *slot = allocate(thread, (unsigned)(random >> 58));
    if (turns != 0) SPIN(turns);
    ++calls;
    if (burst_calls != 0 && calls % burst_calls == 0) pause_thread();
  }
  for (size_t i = 0; i < LIVE; ++i) free(live[i]);
  return NULL;
}

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr,
            "usage: alloc_truth SECONDS FILE [THREADS [SPIN [BURST PAUSE_US work|sleep]]]\n");
    return 1;
  }
  const unsigned long threads = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
  if (threads < 1 || threads > ALLOC_TRUTH_THREADS) return 1;
  if (argc > 4) spin = strtoul(argv[4], NULL, 10);
  if (argc > 5) burst_calls = strtoul(argv[5], NULL, 10);
  if (argc > 6) pause_us = strtoul(argv[6], NULL, 10);
  sleeps = argc > 7 && strcmp(argv[7], "sleep") == 0;
  truth = alloc_truth_map(argv[2], threads);
  pthread_t ids[ALLOC_TRUTH_THREADS];
  workload_begin(argc, argv);
  for (size_t i = 0; i < threads; ++i) {
    if (pthread_create(&ids[i], NULL, worker, (void*)i) != 0) return 1;
  }
  for (size_t i = 0; i < threads; ++i) pthread_join(ids[i], NULL);
  return 0;
}
