/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The contract of kernel and user side on samples: records in the ring buffer, what sessions are
 * told and count, enums. Its other half, how a stack is walked, is unwind_abi.h. Fixed widths,
 * little endian, sizes asserted. Included by bpf/, daemon/collect and daemon/files.
 */
#ifndef HOTPATH_BPF_ABI_H
#define HOTPATH_BPF_ABI_H

#ifndef __BPF__
#include <linux/types.h>
#endif

/*
 * A frame is 8 bytes; the two top bits say what it is (daemon/profile/frame.h has its own form):
 *   11  a kernel address
 *   00  a place in a file: 18 bits of file id, 44 bits of offset in the file
 *   01  an address of the process that no file backs: JIT, stack, heap
 *   10  reserved for user space (synthetic frames)
 * The leaf and frames interrupted by a signal hold their pc; a caller holds its return address
 * minus one, which lies inside the call, so that lines and rules are those of the call.
 */
#define HP_FRAME_KIND_SHIFT  62
#define HP_FRAME_FILE	     0ULL
#define HP_FRAME_ANON	     1ULL
#define HP_FRAME_SYNTHETIC   2ULL
#define HP_FRAME_KERNEL	     3ULL
#define HP_FRAME_FILE_SHIFT  44
#define HP_FRAME_OFFSET_MASK ((1ULL << HP_FRAME_FILE_SHIFT) - 1)

#define HP_MAX_FILES  8192 /* File ids in use at one time; 0 = none, 1 = the vDSO. */
#define HP_FILE_NONE  0
#define HP_FILE_VDSO  1
#define HP_FILE_FIRST 2

/* Kept of a user stack: the leaf side, then the root side. */
#define HP_MAX_USER_FRAMES   1024
#define HP_MAX_LEAF_FRAMES   896
#define HP_MAX_ROOT_FRAMES   128
#define HP_MAX_WALKED_FRAMES 8192 /* Walked at most; what lies between is cut, and said. */
#define HP_MAX_KERNEL_FRAMES 127
#define HP_PATH_LEN	     512
#define HP_COMM_LEN	     16

/* How the user walk of a sample ended. The sentence is the metric's help text. */
enum hp_walk_end {
	HP_WALK_COMPLETE = 0,	   /* Reached the thread's first frame. */
	HP_WALK_NO_USER = 1,	   /* A kernel thread or an exiting task: there is no user stack. */
	HP_WALK_TABLE_PENDING = 2, /* The file's unwind table is not loaded yet. */
	HP_WALK_NO_RULE = 3, /* No unwind rule covers the address, or it is one we cannot follow. */
	HP_WALK_BAD_MEMORY = 4,	 /* The stack could not be read. */
	HP_WALK_FRAME_LIMIT = 5, /* More frames than the limit; the middle is cut. */
	HP_WALK_BAD_RETURN = 6,	 /* The return address is in no executable mapping. */
	HP_WALK_ENDS
};

/* Why a sample is missing. The sentence is the metric's help text. */
enum hp_loss {
	HP_LOSS_RING_FULL = 0, /* The ring buffer had no room. */
	HP_LOSS_THROTTLED = 1, /* The kernel delivered no sampling interrupt in time. */
	HP_LOSS_MAP_FULL = 2,  /* A BPF map had no room. */
	HP_LOSS_TOO_LONG = 3,  /* The record was longer than its buffer. */
	HP_LOSS_BUSY = 4,      /* Another program held this CPU's scratch memory. */
	HP_LOSSES
};

enum hp_event_kind { HP_EVENT_SAMPLE = 1, HP_EVENT_NEW_FILE = 2 };

/* What a sample is of. Numbers stay: each type but cpu has one session of its own, by number. */
enum hp_profile_type {
	HP_TYPE_CPU = 0,	   /* Time on a CPU. */
	HP_TYPE_ALLOCS = 1,	   /* Memory asked of an allocator. */
	HP_TYPE_MEMORY_GROWTH = 2, /* First touches of memory: page faults on anonymous pages. */
	HP_TYPES
};

/*
 * Sampling sessions, each of one type. Of cpu there are several: 0 is always on, the others serve
 * requests at their own rate. A further type has one, which all who ask for it share.
 */
#define HP_CPU_SESSIONS	    5
#define HP_SESSION_OF(type) (HP_CPU_SESSIONS - 1 + (type)) /* Of a type other than cpu. */
#define HP_MAX_SESSIONS	    (HP_CPU_SESSIONS + HP_TYPES - 1)

/* What the kernel side counts of one session on one CPU. User space clears it at the start. */
struct hp_session_state {
	__u64 last_tick_ns;  /* 0: no tick yet. */
	__u64 last_exec_ns;  /* CPU time that last_tid had used at the last tick. */
	__u32 last_tid;	     /* The thread that the last tick hit. */
	__u32 slept;	     /* The CPU slept since the last tick that had a weight. */
	__u64 last_seen_ns;  /* The last tick of any kind. What the two below were then. */
	__u64 last_slept_ns; /* How long the CPU had slept, since boot. */
	__u64 last_switches; /* How many switches of threads it had seen. */
	__s64 owed_ns;	     /* CPU time that passed and no sample has stood for yet. */
	__u64 samples;
	__u64 value; /* Of the samples sent; this and bytes as in struct hp_sample. */
	__u64 bytes;
	__u64 idle_ns;
	__u64 lost_samples[HP_LOSSES];
	__u64 lost_value[HP_LOSSES];
	__u64 lost_bytes[HP_LOSSES];
	__u64 walk_ends[HP_WALK_ENDS];
};

struct hp_session_config {
	__u64 period_ns;	/* The mean period. */
	__u32 only_listed_pids; /* 1: only processes in session_pids; 2: and those they start. */
	__u32 reserved;
};

struct hp_session_pid {
	__u32 session;
	__u32 pid;
};

/* A sample: this header, then kernel frames, then user frames, leaf first in both. */
struct hp_sample {
	__u32 kind; /* HP_EVENT_SAMPLE */
	__u8 session;
	__u8 walk_end; /* enum hp_walk_end */
	__u16 cpu;
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u64 value;   /* What this sample stands for: ns of CPU time, else how many events. */
	__u64 bytes;   /* Bytes that those events allocated or touched; of cpu 0. */
	__u64 start_time_ns; /* The process's start, since boot: with pid, its identity. */
	__u64 cgroup_id;
	__u32 pid; /* tgid as the initial pid namespace numbers it. */
	__u32 tid;
	__u8 exec_id; /* Low bits of how often the process and its ancestors have called execve. */
	__u8 kernel_frames;
	__u16 user_frames;
	__u16 cut;	   /* 0: whole. Else the root side is a ring that starts at cut - 1. */
	__u16 failed_file; /* File id in whose code the walk ended, when it did not end well. */
	__u8 type;	   /* enum hp_profile_type */
	__u8 reserved[3];
	__u32 parent_pid;	   /* Who started the process: its real parent's tgid. */
	char comm[HP_COMM_LEN];	   /* The thread's name. */
	char process[HP_COMM_LEN]; /* The main thread's name. */
	__u64 frames[];
};

/* What makes a file the same file: compared with fstat before a path is believed. */
struct hp_file_key {
	__u64 inode;
	__u64 ctime_ns; /* Change time, so that a rewritten file is another file. */
	__u32 device;	/* As the kernel keeps it: major << 20 | minor. */
	__u32 generation;
};

/* How file ids are given out; one, of all programs. User space maps it. */
struct hp_file_ids {
	__u32 next;	/* Never given out yet; at the limit when only free_file_ids has more. */
	__u32 epoch;	/* User space adds one when it took ids away: older mappings are void. */
	__u64 numbered; /* Times that a file got an id: with those given back, how many are left. */
	__u64 exhausted; /* New files that found none. */
};

/* A file seen for the first time: open it now, through the process that maps it. */
struct hp_new_file {
	__u32 kind; /* HP_EVENT_NEW_FILE */
	__u32 file_id;
	struct hp_file_key key;
	__u64 vma_start; /* The mapping in which it was seen: /proc/PID/map_files/START-END. */
	__u64 vma_end;
	__u32 pid;
	__u32 path_bytes;	/* Used of path. */
	char path[HP_PATH_LEN]; /* Components, leaf to root, each ended by NUL. */
};

#ifndef __cplusplus
#define static_assert _Static_assert
#endif
static_assert(sizeof(struct hp_sample) == 104, "hp_sample");
static_assert(sizeof(struct hp_new_file) == 568, "hp_new_file");
static_assert(sizeof(struct hp_file_ids) == 24, "hp_file_ids");

#endif /* HOTPATH_BPF_ABI_H */
