// SPDX-License-Identifier: GPL-2.0-only
// alloc: which code allocates how much, in one process at a time, for a fraction of a millisecond.
//
//   Hook     uprobe_multi on the entry of allocators, two probes a function where it has two
//   places;
//            sched_switch.
//   Emits    every hit into `hits`; one sample per sampled allocation, with its stack, into
//   `events`. Cost     the trap, and some 100 ns; a walk as for a CPU sample, once in so many
//   bytes. Loss     counted in alloc_states and session_states. Kernel   6.6 (uprobe_multi).
//
// Unlike a perf event, a probe can be preempted by another probe on its CPU: what is a CPU's own is
// taken by one atomic step, or not at all.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "alloc_abi.h"
#include "sample.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* Of the open window; user space maps it to arm and disarm. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct hp_alloc_config);
} alloc_configs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct hp_alloc_state);
} alloc_states SEC(".maps");

/* The log of the open window, of all CPUs. Read by user space when the window is closed. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HP_ALLOC_MAX_HITS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct hp_hit);
} hits SEC(".maps");

/* daemon/estimate/byte_sampling.h; filled once. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HP_ALLOC_DISTANCES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u32);
} distances SEC(".maps");

/*
 * Bytes until the next sampled one, on this CPU; 0: not drawn yet. [1] decides; [0] is counted down
 * at the first probe of a pair for nothing but time: the estimate is the difference of the gaps
 * after the one probe and after the other, so both are to take equally long.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} bytes_left SEC(".maps");

/* tgid -> when it was put here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HP_ALLOC_MAX_WATCHED);
	__type(key, __u32);
	__type(value, __u64);
} watched SEC(".maps");

/* tid -> its time on CPUs. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, HP_ALLOC_MAX_THREADS);
	__type(key, __u32);
	__type(value, struct hp_alloc_thread);
} threads SEC(".maps");

static __always_inline void hp_log(struct hp_alloc_config *config, __u64 now, __u32 tid, __u32 kind,
				   __u64 size)
{
	__u32 zero = 0;
	struct hp_alloc_state *state = bpf_map_lookup_elem(&alloc_states, &zero);

	if (!state)
		return;
	__u32 index = __sync_fetch_and_add(&state->hits, 1);

	if (index >= config->max_hits) {
		if (!__sync_val_compare_and_swap(&state->capped, 0, 1))
			state->capped_ns = now;
		config->armed = 0;
		return;
	}
	struct hp_hit *hit = bpf_map_lookup_elem(&hits, &index);

	if (!hit)
		return;
	hit->time_ns = now;
	hit->size_bytes = size;
	hit->tid = tid;
	hit->cpu = bpf_get_smp_processor_id();
	hit->kind = kind;
}

/* A register that arguments are passed in, by its DWARF number. All are read, each by an offset
 * that the compiler cannot compute at run time, for that the verifier refuses. */
static __always_inline __u64 hp_argument(struct pt_regs *ctx, __u32 reg)
{
	__u64 dx = ctx->dx, cx = ctx->cx, si = ctx->si, di = ctx->di, r8 = ctx->r8;

	__asm__ volatile("" : "+r"(dx), "+r"(cx), "+r"(si), "+r"(di), "+r"(r8));
	switch (reg) {
	case 1:
		return dx;
	case 2:
		return cx;
	case 4:
		return si;
	case 8:
		return r8;
	default:
		return di; /* 5 */
	}
}

static __always_inline __u64 hp_size(struct pt_regs *ctx, __u64 site)
{
	__u32 by = (site >> HP_SITE_BY_SHIFT) & HP_SITE_BITS;
	__u64 size = hp_argument(ctx, (site >> HP_SITE_SIZE_SHIFT) & HP_SITE_BITS);

	return by ? size * hp_argument(ctx, by - 1) : size;
}

/* Is one of the next `size` bytes that this CPU's threads allocate the sampled one? */
static __always_inline int hp_sampled(__u32 decides, __u64 size)
{
	__u64 *left = bpf_map_lookup_elem(&bytes_left, &decides);
	__u64 was;

	if (!left)
		return 0;
	was = *left;
	size += !size; /* malloc(0) takes a block too. */
	if (was > size) {
		*left = was - size;
		return 0;
	}
	__u32 draw = bpf_get_prandom_u32() % HP_ALLOC_DISTANCES;
	__u32 *distance = bpf_map_lookup_elem(&distances, &draw);

	if (distance)
		*left = *distance;
	return was != 0;
}

/* A sample of the running thread, with its stack from the probe on. */
static __always_inline void hp_sample_allocation(struct hp_alloc_config *config, __u64 now,
						 __u64 size)
{
	__u32 zero = 0, session = config->session;
	struct hp_alloc_state *counts = bpf_map_lookup_elem(&alloc_states, &zero);
	struct hp_session_state *state = bpf_map_lookup_elem(&session_states, &session);
	struct task_struct *task = bpf_get_current_task_btf();
	struct hp_scratch *s;

	if (!counts || !state)
		return;
	if (__sync_fetch_and_add(&counts->walks, 1) >= config->max_walks) {
		__sync_fetch_and_add(&counts->lost, 1);
		return;
	}
	s = hp_begin_sample(task, session, HP_TYPE_ALLOCS, now);
	if (!s) {
		__sync_fetch_and_add(&counts->lost, 1);
		return;
	}
	s->sample.value = 1;
	s->sample.bytes = size;
	s->walk.kernel_frames = 0;
	hp_take_user_stack(s, task, 0);
	hp_emit_sample(s, state);
	hp_end_sample(s);
}

static __always_inline int hp_hit(struct pt_regs *ctx, __u64 now)
{
	__u32 zero = 0;
	struct hp_alloc_config *config = bpf_map_lookup_elem(&alloc_configs, &zero);
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u64 site = bpf_get_attach_cookie(ctx);
	__u32 kind = HP_HIT_FIRST;

	if (!config || !config->armed || config->tgid != pid_tgid >> 32 || now < config->from_ns)
		return 0;
	__u32 skip = (site >> HP_SITE_SKIP_SHIFT) & HP_SITE_BITS;

	if (skip && hp_argument(ctx, skip - 1) <= ((site >> HP_SITE_UPTO_SHIFT) & HP_SITE_BITS))
		return 0;
	__u64 size = hp_size(ctx, site);

	__u32 decides = !!(site & (HP_SITE_SECOND | HP_SITE_ONLY));
	int sampled = hp_sampled(decides, size);

	if (site & HP_SITE_ONLY)
		kind = sampled ? HP_HIT_ONLY_WALKED : HP_HIT_ONLY;
	else if (site & HP_SITE_SECOND)
		kind = sampled ? HP_HIT_WALKED : HP_HIT_SECOND;
	if (sampled && decides)
		hp_sample_allocation(config, now, size);
	hp_log(config, now, pid_tgid, kind, size);
	return 0;
}

SEC("kprobe")
int alloc_hit(struct pt_regs *ctx)
{
	return hp_hit(ctx, bpf_ktime_get_ns());
}

/* Of a function of ours: attached only to keep the kernel ready to attach. */
SEC("kprobe")
int alloc_nothing(struct pt_regs *ctx)
{
	return 0;
}

static __always_inline void hp_switch(struct task_struct *task, __u64 now, __u32 kind)
{
	__u32 tgid = task->tgid, tid = task->pid, zero = 0;
	__u64 *since = bpf_map_lookup_elem(&watched, &tgid);
	struct hp_alloc_thread *thread;

	if (!since)
		return;
	thread = bpf_map_lookup_elem(&threads, &tid);
	if (!thread || thread->tgid != tgid) {
		/* Never switched since it is watched: it ran all the time, or slept. */
		struct hp_alloc_thread fresh = {.tgid = tgid};

		if (kind == HP_HIT_SWITCH_IN)
			fresh.on_since_ns = now;
		else
			fresh.on_cpu_ns = now - *since;
		bpf_map_update_elem(&threads, &tid, &fresh, BPF_ANY);
	} else if (kind == HP_HIT_SWITCH_IN) {
		thread->on_since_ns = now;
	} else {
		__u64 from = thread->on_since_ns;

		if (from) {
			thread->on_cpu_ns += now - from;
			thread->on_since_ns = 0;
		}
	}
	struct hp_alloc_config *config = bpf_map_lookup_elem(&alloc_configs, &zero);

	if (config && config->armed && config->tgid == tgid)
		hp_log(config, now, tid, kind, 0);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(alloc_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = bpf_ktime_get_ns();

	hp_switch(prev, now, HP_HIT_SWITCH_OUT);
	hp_switch(next, now, HP_HIT_SWITCH_IN);
	return 0;
}
