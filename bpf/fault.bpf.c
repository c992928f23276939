// SPDX-License-Identifier: GPL-2.0-only
// memory_growth: who touches memory for the first time, and so makes a process grow.
//
//   Hook     perf_event, one a CPU: each 251st page fault.
//   Emits    40 samples a second and CPU at most, and a burst of 20 after a quiet time.
//   Cost     of 251 faults one runs this, mostly to add up; some us a sample.
//   Loss     counted in session_states, by reason, in samples, faults and bytes.
//   Kernel   6.1.
//
// Each 251st fault is a tick, and a tick becomes a sample with a probability p that only the ticks
// before it decide; the sample then stands for 251 / p faults. So the mean is right for every
// stack, whatever the rates do: no period outlives the burst that it was made for. p is 1 while
// ticks are few and falls with their density, a sum that halves in about a third of a second. Ticks
// are not drawn one by one: p is added up, and whenever the sum has grown by 1 in the mean (drawn
// from 0.5 to 1.5, so that nothing locks to it) a tick is taken; totals then hardly scatter. 251 is
// a prime, for programs touch memory in powers of two. An example: 600,000 faults/s are 2,390
// ticks/s, of which 1 in 60 is taken: 40 a second, each of 15,000 faults; the first 20 ticks stood
// for 251 each.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "maps.bpf.h"
#include "sample.bpf.h"

#define HP_VM_SHARED   8
#define HP_PAGE_BYTES  4096
#define HP_DENSITY_NS  500000000ULL /* Over which the density of ticks is taken. */
#define HP_DENSITY_ONE 1024	    /* One tick in the density. */
#define HP_CHANCE_ONE  65536	    /* p = 1. */

/* Of one CPU. Written by fault_sample alone. */
struct hp_fault_pace {
	__u64 tick_ns;
	__u64 density; /* Ticks of late, each less the older it is; in HP_DENSITY_ONE. */
	__u64 chance;  /* Sum of p since the last sample; in HP_CHANCE_ONE. */
	__u64 due;     /* The sum at which the next sample is taken; drawn from 0.5 to 1.5. */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hp_fault_pace);
} fault_paces SEC(".maps");

/* How many faults this tick stands for; 0: it is not taken. */
static __always_inline __u64 hp_pace_fault(__u64 now, __u64 faults, __u64 period_ns)
{
	__u32 zero = 0;
	struct hp_fault_pace *pace = bpf_map_lookup_elem(&fault_paces, &zero);

	if (!pace || !period_ns)
		return 0;
	__u64 full = HP_DENSITY_NS / period_ns * HP_DENSITY_ONE; /* Up to here p is 1. */
	__u64 past = now - pace->tick_ns;
	__u64 density = pace->density * HP_DENSITY_NS / (HP_DENSITY_NS + past);
	__u64 chance, taken = 0;

	pace->density = density + HP_DENSITY_ONE;
	pace->tick_ns = now;
	if (density <= full)
		return faults;
	chance = full * HP_CHANCE_ONE / density;
	if (!chance)
		chance = 1;
	pace->chance += chance;
	/* A step of at most 1 passes three draws at most. */
	for (int i = 0; i < 3 && pace->chance >= pace->due; i++) {
		pace->chance -= pace->due;
		pace->due = HP_CHANCE_ONE / 2 + (bpf_get_prandom_u32() & (HP_CHANCE_ONE - 1));
		taken++;
	}
	return taken * faults * HP_CHANCE_ONE / chance;
}

/*
 * Is this a place whose first touch adds a page to the process: private, and of no file? So the
 * heap, stacks and anonymous mappings; neither pages of files, their private copies (.data), nor
 * shared memory, of which it cannot be told here whether the page was there already.
 */
static __always_inline int hp_grows(struct hp_scratch *s, __u64 address)
{
	struct vm_area_struct *vma = (struct vm_area_struct *)hp_find_vma(s, address);

	if (!vma || address < BPF_CORE_READ(vma, vm_start) || address >= BPF_CORE_READ(vma, vm_end))
		return 0;
	return !BPF_CORE_READ(vma, vm_file) && !(BPF_CORE_READ(vma, vm_flags) & HP_VM_SHARED);
}

SEC("perf_event")
int fault_sample(struct bpf_perf_event_data *ctx)
{
	__u32 session = HP_SESSION_OF(HP_TYPE_MEMORY_GROWTH);
	__u64 now = bpf_ktime_get_ns();
	struct hp_session_config *config = bpf_map_lookup_elem(&session_configs, &session);
	struct hp_session_state *state = bpf_map_lookup_elem(&session_states, &session);
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 faults;

	if (!config || !state || !task->mm)
		return 0;
	faults = hp_pace_fault(now, ctx->sample_period, config->period_ns);
	if (!faults)
		return 0;
	struct hp_scratch *s = hp_begin_sample(task, session, HP_TYPE_MEMORY_GROWTH, now);

	if (!s) {
		hp_count_loss(state, HP_LOSS_BUSY, faults, faults * HP_PAGE_BYTES);
		return 0;
	}
	s->walk.mm = (__u64)task->mm;
	if (hp_grows(s, ctx->addr)) {
		s->sample.value = faults;
		s->sample.bytes = faults * HP_PAGE_BYTES;
		hp_take_stack(s, ctx, task);
		hp_emit_sample(s, state);
	}
	hp_end_sample(s);
	return 0;
}
