// SPDX-License-Identifier: GPL-2.0-only
// cpu: where CPU time goes, in every process, user and kernel stacks.
//
//   Hook     perf_event, one a CPU and session; cpu-clock or cycles.
//   Emits    one sample a tick on a CPU that is not idle: ns since the CPU's last tick.
//   Cost     a few us a sample (tests/bench/README.md); 0.3 us on an idle CPU.
//   Loss     counted in session_states, by reason, in samples and in ns.
//   Kernel   6.1.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "maps.bpf.h"
#include "mapping.bpf.h"
#include "unwind.bpf.h"
#include "weight.bpf.h"
#include "emit.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define PF_IO_WORKER	 0x00000010
#define PF_USER_WORKER	 0x00004000
#define PF_KTHREAD	 0x00200000
#define HP_REGS_CS	 17 /* Index of cs in the words of struct pt_regs. */
#define HP_MAX_ANCESTORS 8

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

/* Is this process listed for the session, or (mode 2) started by one that is? */
static __noinline int hp_listed(struct task_struct *task, __u32 session, __u32 mode)
{
	struct hp_session_pid key = {.session = session, .pid = 0};
	struct hp_session_pid own = {.session = session, .pid = 0};
	struct task_struct *ancestor = task;
	__u8 one = 1;

	if (!task)
		return 0;
	own.pid = BPF_CORE_READ(task, tgid);
	for (int i = 0; i < HP_MAX_ANCESTORS; i++) {
		key.pid = BPF_CORE_READ(ancestor, tgid);
		if (bpf_map_lookup_elem(&session_pids, &key)) {
			if (i > 0)
				bpf_map_update_elem(&session_pids, &own, &one, BPF_ANY);
			return 1;
		}
		if (mode < 2 || key.pid <= 1)
			return 0;
		ancestor = BPF_CORE_READ(ancestor, real_parent);
	}
	return 0;
}

SEC("perf_event")
int cpu_sample(struct bpf_perf_event_data *ctx)
{
	__u32 session = bpf_get_attach_cookie(ctx);
	__u32 zero = 0;
	__u64 now = bpf_ktime_get_ns();
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct hp_session_config *config = bpf_map_lookup_elem(&session_configs, &session);
	struct hp_session_state *state = bpf_map_lookup_elem(&session_states, &session);
	__u64 weight, throttled;

	if (!config || !state)
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();

	weight = hp_weigh(state, task, now, config, &throttled);
	if (throttled && !config->only_listed_pids)
		hp_count_loss(state, HP_LOSS_THROTTLED, throttled);
	if ((pid_tgid & 0xffffffff) == 0) {
		state->idle_ns += weight;
		return 0;
	}
	if (!weight)
		return 0;
	if (config->only_listed_pids) {
		if (!hp_listed(task, session, config->only_listed_pids))
			return 0;
		if (throttled)
			hp_count_loss(state, HP_LOSS_THROTTLED, throttled);
	}
	struct hp_scratch *s = bpf_map_lookup_elem(&scratch, &zero);

	if (!s)
		return 0;
	if (s->busy) {
		hp_count_loss(state, HP_LOSS_BUSY, weight);
		return 0;
	}
	s->busy = 1;

	struct task_struct *leader = task->group_leader;
	__u64 cs = ((__u64 *)&ctx->regs)[HP_REGS_CS];

	s->sample.kind = HP_EVENT_SAMPLE;
	s->sample.session = session;
	s->sample.cpu = bpf_get_smp_processor_id();
	s->sample.time_ns = now;
	s->sample.weight_ns = weight;
	s->sample.start_time_ns = leader->start_boottime;
	s->sample.exec_id = leader->self_exec_id;
	s->sample.cgroup_id = bpf_get_current_cgroup_id();
	s->sample.pid = pid_tgid >> 32;
	s->sample.tid = pid_tgid;
	bpf_get_current_comm(s->sample.comm, sizeof(s->sample.comm));
	bpf_probe_read_kernel(s->sample.process, sizeof(s->sample.process), leader->comm);

	s->walk.kernel_frames = 0;
	if (!(cs & 3)) {
		long bytes = bpf_get_stack(ctx, s->frames, 8 * HP_MAX_KERNEL_FRAMES, 0);

		if (bytes > 0 && bytes <= 8 * HP_MAX_KERNEL_FRAMES)
			s->walk.kernel_frames = bytes / 8;
	}
	s->walk.frames = 0;
	s->walk.failed_file = 0;
	if (!task->mm || (task->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER))) {
		s->walk.end = HP_WALK_NO_USER;
	} else {
		hp_begin_mappings(s, task);
		hp_begin_walk(s, task, !(cs & 3));
		hp_walk_user(s);
	}
	hp_emit_sample(s, state);
	s->busy = 0;
	return 0;
}
