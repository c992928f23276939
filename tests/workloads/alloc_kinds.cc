// alloc_kinds: every allocating entry of the C and C++ libraries in turn, counted by itself
// (alloc_truth.h). Site i is by_NAME of the i-th row below, and asks for (i + 1) * 100 bytes;
// aligned ones for as many rounded up to 64. All on the main thread, some 10,000 calls of each per
// second.
//   alloc_kinds SECONDS FILE
#include <malloc.h>

#include <cstddef>
#include <new>

#include "alloc_truth.h"
#include "workload.h"

namespace {
alloc_truth_thread* counts = nullptr;
constexpr size_t kAlign = 64;

size_t Size(int site) {
  const size_t size = static_cast<size_t>(site + 1) * 100;
  return site < 4 || site == 7 || site == 8 ? size : (size + kAlign - 1) / kAlign * kAlign;
}

// Counts before the call, as a probe on its entry would.
size_t Count(int site) {
  alloc_truth_count(counts, site, Size(site));
  return Size(site);
}
}  // namespace

#define KIND(site, name, allocation, release)  \
  extern "C" TRUTH_FUNCTION void by_##name() { \
    const size_t size = Count(site);           \
    void* block = allocation;                  \
    KEEP(block);                               \
    release;                                   \
    NO_TAIL_CALL();                            \
  }

KIND(0, malloc, malloc(size), free(block))
KIND(1, calloc, calloc(size / 10, 10), free(block))
KIND(2, realloc, realloc(nullptr, size), free(block))
KIND(3, reallocarray, reallocarray(nullptr, size / 10, 10), free(block))
KIND(4, posix_memalign, nullptr;
     if (posix_memalign(&block, kAlign, size) != 0) abort(), free(block))
KIND(5, aligned_alloc, aligned_alloc(kAlign, size), free(block))
KIND(6, memalign, memalign(kAlign, size), free(block))
KIND(7, new, ::operator new(size), ::operator delete(block))
KIND(8, new_array, ::operator new[](size), ::operator delete[](block))
KIND(9, new_aligned, ::operator new(size, std::align_val_t{kAlign}),
     ::operator delete(block, std::align_val_t{kAlign}))

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: alloc_kinds SECONDS FILE\n");
    return 1;
  }
  alloc_truth* truth = alloc_truth_map(argv[2], 1);
  counts = &truth->thread[0];
  counts->tid = static_cast<uint64_t>(getpid());
  workload_begin(argc, argv);
  while (WORKLOAD_RUNNING()) {
    by_malloc();
    by_calloc();
    by_realloc();
    by_reallocarray();
    by_posix_memalign();
    by_aligned_alloc();
    by_memalign();
    by_new();
    by_new_array();
    by_new_aligned();
    SPIN(SPIN_100US);
  }
  return 0;
}
