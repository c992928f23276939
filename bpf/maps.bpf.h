/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every map of the kernel side: what it holds, why this size, who writes it and when. Weak, as are
 * the globals of the other headers: the objects of all programs are linked into one, and share
 * them.
 */
#ifndef HOTPATH_MAPS_BPF_H
#define HOTPATH_MAPS_BPF_H

#include "abi.h"
#include "unwind_abi.h"

/* Samples and new files, to user space. Sized at start: 256 KiB a CPU, 1 MiB at least. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps") __weak;

/* File -> id. Written here when a file is first seen, by user space when an id is given up. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HP_MAX_FILES);
	__type(key, struct hp_file_key);
	__type(value, __u32);
} files SEC(".maps") __weak;

/* Ids that user space has taken back: no sample under way holds them as their old file's. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, HP_MAX_FILES);
	__type(value, __u32);
} free_file_ids SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct hp_file_ids);
} file_ids SEC(".maps") __weak;

/* By file id: is there a table, and how is it laid out. Written by user space, mapped. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HP_MAX_FILES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct hp_file_info);
} file_infos SEC(".maps") __weak;

/* By file id: when it was last asked for, so that a file nobody could open is asked for again. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HP_MAX_FILES);
	__type(key, __u32);
	__type(value, __u64);
} file_requests SEC(".maps") __weak;

/* The rules of all files, each once. Appended to by user space, mapped. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HP_MAX_RULES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct hp_rule);
} rules SEC(".maps") __weak;

struct hp_table_line {
	__u32 words[HP_TABLE_LINE_WORDS];
};

/* One file's unwind table, of exactly the size it needs; filled through a mapping before it is put
 * here. */
struct hp_table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(key_size, sizeof(__u32));
	__uint(value_size,
	       sizeof(struct hp_table_line)); /* Not __type: its BTF would be a mere forward. */
};

/* By file id: its table. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, HP_MAX_FILES);
	__type(key, __u32);
	__array(values, struct hp_table);
} tables SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HP_MAX_SESSIONS);
	__type(key, __u32);
	__type(value, struct hp_session_state);
} session_states SEC(".maps") __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HP_MAX_SESSIONS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct hp_session_config);
} session_configs SEC(".maps") __weak;

/* Processes that a session is restricted to. Written by user space before the session starts. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct hp_session_pid);
	__type(value, __u8);
} session_pids SEC(".maps") __weak;

#define HP_CACHED_MAPPINGS 8
#define HP_STACK_WORDS	   16 /* Stack memory is read 128 bytes at a time: two or three frames. */

/* A stretch of one address space, as last found in the kernel's tree. */
struct hp_mapping {
	__u64 start;
	__u64 end;	  /* 0: unused. */
	__u64 file_delta; /* file offset = address + file_delta */
	__u64 vm_file;	  /* The kernel's struct file; only to be read with checks. */
	__u32 file_id;
	__u32 executable;
};

/* The state of one walk; in memory, so that the verifier does not follow its values. */
struct hp_walk {
	__u64 pc;
	__u64 sp;
	__u64 bp;
	__u64 bx_at; /* User address of rbx; 0: it is in the leaf's pt_regs still. */
	__u64 regs;  /* Kernel address of the leaf's pt_regs, or user address of a ucontext. */
	__u64 mm;
	__u64 window_base; /* User address of window[0]. */
	__u32 frames;	   /* User frames walked. */
	__u32 kernel_frames;
	__u32 in_kernel; /* The sample hit in the kernel, on behalf of this thread. */
	__u32 exact;	 /* pc is where execution stopped, not a return address: see hp_exact. */
	__u32 end;	 /* enum hp_walk_end */
	__u32 pending;	 /* A table was missing on the way. */
	__u32 failed_file;
	__u64 window[HP_STACK_WORDS];
};

enum hp_exact {
	HP_EXACT_NO = 0,
	HP_EXACT_LEAF = 1,   /* The other registers are in pt_regs. */
	HP_EXACT_SIGNAL = 2, /* The other registers are in a ucontext on the stack. */
};

/* Working memory of one CPU, too big for a stack. */
struct hp_scratch {
	__u32 busy;
	__u32 next_mapping; /* Of mappings[], the one to be replaced next. */
	__u64 mappings_mm;  /* Whose mappings[] are: mm, process and state of its lock. */
	__u64 mappings_start_time;
	__u32 mappings_seq;
	__u32 mappings_pid;
	__u32 mappings_epoch; /* Of file_ids, when they were found. */
	struct hp_mapping mappings[HP_CACHED_MAPPINGS];
	struct hp_walk walk;
	__u64 node[32]; /* One node of the kernel's tree of mappings. */
	struct hp_sample sample;
	__u64 frames[HP_MAX_KERNEL_FRAMES + HP_MAX_USER_FRAMES]; /* Directly behind sample. */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hp_scratch);
} scratch SEC(".maps") __weak;

#endif /* HOTPATH_MAPS_BPF_H */
