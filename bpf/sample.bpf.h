/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every program that samples does alike: who, where, and out.
 *
 *   s = hp_begin_sample(...);  s->sample.value = ...;  hp_take_stack(s, ...);
 *   hp_emit_sample(s, state);  hp_end_sample(s);
 */
#ifndef HOTPATH_SAMPLE_BPF_H
#define HOTPATH_SAMPLE_BPF_H

#include "mapping.bpf.h"
#include "unwind.bpf.h"
#include "emit.bpf.h"

#define PF_IO_WORKER   0x00000010
#define PF_USER_WORKER 0x00004000
#define PF_KTHREAD     0x00200000
#define HP_REGS_CS     17 /* Index of cs in the words of struct pt_regs. */

/*
 * This CPU's working memory, with the running thread noted in its sample; value and bytes are the
 * caller's to set. NULL: another program holds it. Give it back by hp_end_sample().
 */
static __always_inline struct hp_scratch *hp_begin_sample(struct task_struct *task, __u32 session,
							  __u32 type, __u64 now)
{
	__u32 zero = 0;
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct task_struct *leader = task->group_leader;
	struct hp_scratch *s = bpf_map_lookup_elem(&scratch, &zero);

	/* In one step, for a probe may be preempted by another one on its CPU. */
	if (!s || __sync_val_compare_and_swap(&s->busy, 0, 1))
		return NULL;
	s->sample.kind = HP_EVENT_SAMPLE;
	s->sample.session = session;
	s->sample.type = type;
	s->sample.cpu = bpf_get_smp_processor_id();
	s->sample.time_ns = now;
	s->sample.start_time_ns = leader->start_boottime;
	s->sample.exec_id = leader->self_exec_id;
	s->sample.cgroup_id = bpf_get_current_cgroup_id();
	s->sample.pid = pid_tgid >> 32;
	s->sample.tid = pid_tgid;
	s->sample.parent_pid = BPF_CORE_READ(leader, real_parent, tgid);
	bpf_get_current_comm(s->sample.comm, sizeof(s->sample.comm));
	bpf_probe_read_kernel(s->sample.process, sizeof(s->sample.process), leader->comm);
	return s;
}

static __always_inline void hp_end_sample(struct hp_scratch *s)
{
	*(volatile __u32 *)&s->busy = 0;
}

/* Where a user thread's execution stopped, from the registers the kernel saved at its stack's top.
 */
static __always_inline void hp_begin_walk(struct hp_scratch *s, struct task_struct *task,
					  __u32 in_kernel)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

	s->walk.pc = regs->ip;
	s->walk.sp = regs->sp;
	s->walk.bp = regs->bp;
	s->walk.regs = (__u64)regs;
	s->walk.exact = HP_EXACT_LEAF;
	s->walk.in_kernel = in_kernel;
}

/* The stack of a user thread, behind s->walk.kernel_frames frames that are there already. */
static __always_inline void hp_take_user_stack(struct hp_scratch *s, struct task_struct *task,
					       __u32 in_kernel)
{
	s->walk.frames = 0;
	s->walk.failed_file = 0;
	if (!task->mm || (task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER))) {
		s->walk.end = HP_WALK_NO_USER;
		return;
	}
	hp_begin_mappings(s, task);
	hp_begin_walk(s, task, in_kernel);
	hp_walk_user(s);
}

/* Of a perf event: the kernel stack, where it hit the kernel's code, then the user stack. */
static __always_inline void hp_take_stack(struct hp_scratch *s, struct bpf_perf_event_data *ctx,
					  struct task_struct *task)
{
	__u32 in_kernel = !(((__u64 *)&ctx->regs)[HP_REGS_CS] & 3);

	s->walk.kernel_frames = 0;
	if (in_kernel) {
		long bytes = bpf_get_stack(ctx, s->frames, 8 * HP_MAX_KERNEL_FRAMES, 0);

		if (bytes > 0 && bytes <= 8 * HP_MAX_KERNEL_FRAMES)
			s->walk.kernel_frames = bytes / 8;
	}
	hp_take_user_stack(s, task, in_kernel);
}

#endif /* HOTPATH_SAMPLE_BPF_H */
