// What the allocating truth programs have allocated, in a file that a test maps while they run.
#ifndef HOTPATH_TESTS_WORKLOADS_ALLOC_TRUTH_H
#define HOTPATH_TESTS_WORKLOADS_ALLOC_TRUTH_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALLOC_TRUTH_THREADS = 64, ALLOC_TRUTH_SITES = 16 };
#define ALLOC_TRUTH_MAGIC 0x687475727420616cull

// Written by its thread only, just before each call: a reader is at most one call ahead.
struct alloc_truth_thread {
  uint64_t tid;
  uint64_t calls[ALLOC_TRUTH_SITES];
  uint64_t bytes[ALLOC_TRUTH_SITES];
  uint64_t padding[31];  // Threads share no cache line.
};

struct alloc_truth {
  uint64_t magic;  // Written last.
  uint64_t threads;
  uint64_t padding[62];
  struct alloc_truth_thread thread[ALLOC_TRUTH_THREADS];
};

// Maps `path`, made anew; ends the program if it cannot.
static inline struct alloc_truth* alloc_truth_map(const char* path, uint64_t threads) {
  const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(struct alloc_truth)) != 0) {
    perror(path);
    exit(1);
  }
  void* map = mmap(NULL, sizeof(struct alloc_truth), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_POPULATE, fd, 0);
  close(fd);
  if (map == MAP_FAILED) {
    perror("mmap");
    exit(1);
  }
  struct alloc_truth* truth = (struct alloc_truth*)map;
  truth->threads = threads;
  __atomic_store_n(&truth->magic, ALLOC_TRUTH_MAGIC, __ATOMIC_RELEASE);
  return truth;
}

static inline void alloc_truth_count(struct alloc_truth_thread* thread, int site, size_t bytes) {
  __atomic_store_n(&thread->calls[site], thread->calls[site] + 1, __ATOMIC_RELAXED);
  __atomic_store_n(&thread->bytes[site], thread->bytes[site] + bytes, __ATOMIC_RELAXED);
}

#endif  // HOTPATH_TESTS_WORKLOADS_ALLOC_TRUTH_H
