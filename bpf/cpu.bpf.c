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
#include "sample.bpf.h"
#include "weight.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define HP_MAX_ANCESTORS 8

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
		hp_count_loss(state, HP_LOSS_THROTTLED, throttled, 0);
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
			hp_count_loss(state, HP_LOSS_THROTTLED, throttled, 0);
	}
	struct hp_scratch *s = hp_begin_sample(task, session, HP_TYPE_CPU, now);

	if (!s) {
		hp_count_loss(state, HP_LOSS_BUSY, weight, 0);
		return 0;
	}
	s->sample.value = weight;
	s->sample.bytes = 0;
	hp_take_stack(s, ctx, task);
	hp_emit_sample(s, state);
	hp_end_sample(s);
	return 0;
}
