/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How much CPU time a tick stands for.
 *
 * Two estimates are joined. Who ran: each tick that falls due while the CPU is busy stands for one
 * period of whoever it hits, which in the mean is right for every thread, but whose sum wanders:
 * 230 samples are 6.6 % off. How much ran at all: the kernel knows for how long each CPU was idle.
 * What the samples owe to that (or the other way round) is paid back a quarter at each sample, by
 * the debt of the tick before, which does not depend on whom this tick hits. So the sum is off by
 * a period or two however long it runs. An example: 19 Hz, 40 % of a CPU, 60 s: 24 s are to be
 * told by 456 samples; at 52.6 ms each they tell 24 +- 0.9, with the debt paid 24 +- 0.1.
 */
#ifndef HOTPATH_WEIGHT_BPF_H
#define HOTPATH_WEIGHT_BPF_H

#include "maps.bpf.h"

#define HP_MAX_OWED_PERIODS 8
#define HP_MAX_BUSY_NS	    2000000000ULL /* Between two ticks; more is a CPU that was away. */

/*
 * Distance of per-CPU variables from this CPU's runqueue, which a running thread leads to. 0: this
 * kernel's BTF does not tell. They have no address to load by where data symbols are not in
 * kallsyms (CONFIG_KALLSYMS_ALL=n), hence no __ksym.
 */
const volatile __s64 tick_sched_distance = 0;
const volatile __s64 hrtimer_bases_distance = 0;

/* This CPU's runqueue; NULL where its idle clocks are not known. */
static __always_inline struct rq *hp_runqueue(struct task_struct *task)
{
	if (!tick_sched_distance || !hrtimer_bases_distance ||
	    !bpf_core_field_exists(task->se.cfs_rq) || !bpf_core_field_exists(struct cfs_rq, rq) ||
	    !bpf_core_field_exists(struct tick_sched, idle_entrytime) ||
	    !bpf_core_field_exists(struct tick_sched, idle_sleeptime) ||
	    !bpf_core_field_exists(struct tick_sched, iowait_sleeptime) ||
	    !bpf_core_field_exists(struct hrtimer_clock_base, running))
		return NULL;
	return task->se.cfs_rq->rq;
}

/* How long this CPU has slept since boot. An interrupt ends a sleep, so this one is not in it. */
static __always_inline int hp_read_slept(struct rq *rq, __u64 *slept_ns)
{
	struct tick_sched *tick = (void *)rq + tick_sched_distance;
	__u64 idle, waiting;

	if (bpf_core_read(&idle, 8, &tick->idle_sleeptime) ||
	    bpf_core_read(&waiting, 8, &tick->iowait_sleeptime))
		return 0;
	*slept_ns = idle + waiting;
	return 1;
}

/*
 * Without those clocks: the time since the last tick. A gap of more than 2.3 periods (one is at
 * most 1.2 times the mean, and a new one may begin in the middle of an old) misses ticks. Most of
 * such gaps are idle. Only what the same thread used of it was lost for certain.
 */
static __always_inline __u64 hp_weigh_gap(__u64 gap, __u64 ran, __u64 period, __u64 *throttled)
{
	if (gap <= period * 23 / 10)
		return gap;
	if (ran > gap)
		ran = gap;
	if (ran > period)
		*throttled = ran - period;
	return period;
}

/*
 * Periods that fell due since the CPU last woke up. A halted CPU's clock event may come only when
 * something else wakes it, or later: such a tick was meant for the sleep, hits whatever the CPU
 * woke up for, and counts only for those that should have followed it since.
 */
static __always_inline __u64 hp_periods_due(struct rq *rq, __u64 now, __u64 period, __u64 *awake_ns)
{
	struct tick_sched *tick = (void *)rq + tick_sched_distance;
	struct hrtimer_cpu_base *timers = (void *)rq + hrtimer_bases_distance;
	struct hrtimer *timer;
	__u64 woke_ns, due_ns, due;

	if (bpf_core_read(&woke_ns, 8, &tick->idle_entrytime) ||
	    bpf_core_read(&timer, 8, &timers->clock_base[0].running) ||
	    bpf_core_read(&due_ns, 8, &timer->node.expires) || woke_ns > now || due_ns > now)
		return 1;
	*awake_ns = now - woke_ns;
	due = (now - due_ns) / period;
	if (due_ns >= woke_ns)
		due++;
	else
		due -= (woke_ns - due_ns) / period;
	return due < 2 ? due : 2;
}

/*
 * The CPU time that this tick stands for; of an idle thread, that of interrupts on top of it. 0: it
 * says nothing about who ran. *throttled: CPU time that no tick was there for; of the thread's own
 * where only some processes are asked for.
 */
static __always_inline __u64 hp_weigh(struct hp_session_state *state, struct task_struct *task,
				      __u64 now, const struct hp_session_config *config,
				      __u64 *throttled)
{
	struct rq *rq = hp_runqueue(task);
	__u64 exec = task->se.sum_exec_runtime;
	__u32 tid = task->pid;
	__u64 ran = state->last_tid == tid ? exec - state->last_exec_ns : 0;
	__u64 first = !state->last_tick_ns;
	__u64 gap = now - state->last_tick_ns;
	__u64 period = config->period_ns;
	__u64 weight = period;
	__u64 slept_ns = state->last_slept_ns;
	__u64 awake_ns = 0;

	*throttled = 0;
	/* The same thread as ever: no sleep, no need to look. */
	__u64 switches = rq ? rq->nr_switches : 0;
	__u64 same = switches == state->last_switches && tid == state->last_tid;

	if (!rq || ((!same || !tid) && !hp_read_slept(rq, &slept_ns))) {
		if (!first)
			weight = hp_weigh_gap(gap, ran, period, throttled);
		goto sampled;
	}
	__s64 owed = state->owed_ns;
	__s64 limit = HP_MAX_OWED_PERIODS * period;
	__s64 busy = now - state->last_seen_ns - (slept_ns - state->last_slept_ns);

	/* Where nobody ran, what was not sleep was our own tick and other interrupts. */
	if ((same && !tid) || busy < 0 || busy > HP_MAX_BUSY_NS)
		busy = 0;
	if (slept_ns != state->last_slept_ns)
		state->slept = 1;
	state->last_seen_ns = now;
	state->last_slept_ns = slept_ns;
	state->last_switches = switches;
	if (first)
		goto sampled;
	if (state->slept)
		weight = hp_periods_due(rq, now, period, &awake_ns) * period;
	else
		weight = hp_weigh_gap(gap, busy, period, throttled);
	/* Awake for this very tick: no thread's time either. */
	if (!tid && !weight)
		busy -= busy < (__s64)awake_ns ? busy : (__s64)awake_ns;
	if (weight && tid) {
		__s64 paid = owed >> 2;

		if (paid > (__s64)weight)
			paid = weight;
		if (paid < -(__s64)(weight >> 1))
			paid = -(__s64)(weight >> 1);
		weight += paid;
	}
	owed += busy - (__s64)(weight + *throttled);
	if (owed > limit) {
		*throttled += owed - limit;
		owed = limit;
	}
	if (owed < -limit)
		owed = -limit;
	state->owed_ns = owed;
	if (config->only_listed_pids && *throttled > ran)
		*throttled = ran;
sampled:
	state->last_exec_ns = exec;
	state->last_tid = tid;
	if (weight) {
		state->last_tick_ns = now;
		state->slept = 0;
	}
	return weight;
}

#endif /* HOTPATH_WEIGHT_BPF_H */
