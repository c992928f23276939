/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The contract of kernel and user side on allocation windows: what a probe is told, what it logs.
 * Fixed widths, little endian, sizes asserted. Included by bpf/ and daemon/collect.
 */
#ifndef HOTPATH_BPF_ALLOC_ABI_H
#define HOTPATH_BPF_ALLOC_ABI_H

#ifndef __BPF__
#include <linux/types.h>
#endif

/* Hits that one window may log; further ones end it. 768 KiB. */
#define HP_ALLOC_MAX_HITS 32768

/* Equally likely numbers of bytes from one sampled byte to the next, filled in by user space. */
#define HP_ALLOC_DISTANCES 4096

/* Processes and threads whose time on CPUs is kept. */
#define HP_ALLOC_MAX_WATCHED 64
#define HP_ALLOC_MAX_THREADS 8192

enum hp_hit_kind {
	HP_HIT_FIRST = 1,  /* The first probe of a pair. */
	HP_HIT_SECOND = 2, /* The second probe of a pair, of the same call. */
	HP_HIT_WALKED = 3, /* The second probe; the stack was walked, which took time. */
	HP_HIT_ONLY = 4,   /* The probe of a function that has no pair. */
	HP_HIT_ONLY_WALKED = 5,
	HP_HIT_SWITCH_IN = 6,  /* The thread came to a CPU. */
	HP_HIT_SWITCH_OUT = 7, /* The thread left its CPU. */
};

/* What a probe's cookie says: the kind of the hit, and which arguments hold the size. */
#define HP_SITE_SECOND	   1U /* Second of a pair; with neither flag: the first. */
#define HP_SITE_ONLY	   2U /* Has no pair. */
#define HP_SITE_SIZE_SHIFT 8  /* DWARF number of the register that holds the size. */
#define HP_SITE_BY_SHIFT   16 /* 1 + number of the register that it is to be multiplied by, or 0. */
#define HP_SITE_SKIP_SHIFT                                                                         \
	24		      /* 1 + number of a register, or 0: calls in which it holds no more   \
			       */
#define HP_SITE_UPTO_SHIFT 32 /* than this are no hits: they go on to another function's probe. */
#define HP_SITE_BITS	   0xffU

/* One hit of a probe, or one switch, while a window is open. */
struct hp_hit {
	__u64 time_ns; /* CLOCK_MONOTONIC, on entry of the program. */
	__u64 size_bytes;
	__u32 tid;
	__u16 cpu;
	__u8 kind; /* enum hp_hit_kind */
	__u8 reserved;
};

/* Written by user space, mapped by it. The window is open while armed is 1. */
struct hp_alloc_config {
	__u32 armed;
	__u32 tgid;	 /* Of the process that the window is on. */
	__u32 max_hits;	 /* The program that logs this many disarms. */
	__u32 max_walks; /* Of stacks; further samples are lost, and counted. */
	__u64 from_ns;	 /* Hits before this are none: only switches are logged. */
	__u32 session;	 /* Of the samples. */
	__u32 reserved;
};

/* Written by the programs, read and cleared by user space, mapped by it. */
struct hp_alloc_state {
	__u64 hits;  /* Logged, and those that found no room. */
	__u64 walks; /* Stacks walked, and those beyond max_walks. */
	__u64 lost; /* Sampled allocations without a stack: too many walks, or no scratch memory. */
	__u64 capped; /* 1: max_hits ended the window, at capped_ns. */
	__u64 capped_ns;
};

/* A thread of a watched process. */
struct hp_alloc_thread {
	__u64 on_cpu_ns;   /* Until it was last taken off its CPU, since the process is watched. */
	__u64 on_since_ns; /* 0: it is off. */
	__u32 tgid;
	__u32 reserved;
};

#ifndef __cplusplus
#define static_assert _Static_assert
#endif
static_assert(sizeof(struct hp_hit) == 24, "hp_hit");
static_assert(sizeof(struct hp_alloc_config) == 32, "hp_alloc_config");
static_assert(sizeof(struct hp_alloc_state) == 40, "hp_alloc_state");
static_assert(sizeof(struct hp_alloc_thread) == 24, "hp_alloc_thread");

#endif /* HOTPATH_BPF_ALLOC_ABI_H */
