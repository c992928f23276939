/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address -> (file, offset in file), from the kernel's own tree of mappings.
 *
 * The maple tree mm->mm_mt is read without locks, node by node, with reads that may fail; what is
 * found counts only when vm_start <= address < vm_end. A process needs no registration, so one that
 * lives 3 ms is located like any other.
 *
 *   Cost     about 1 us for the first look-up in an address space, some ns for one that is cached;
 *            the cache outlives the sample where the kernel counts changes (mm_lock_seq, 6.4).
 *   Loss     a file that finds no id has its frames reported as process addresses, counted.
 *   Kernel   6.1 (maple tree).
 */
#ifndef HOTPATH_MAPPING_BPF_H
#define HOTPATH_MAPPING_BPF_H

#include "file.bpf.h"

/* Node types of include/linux/maple_tree.h. An mm's tree tracks gaps: inner nodes are arange_64. */
#define HP_MAPLE_LEAF_64   1
#define HP_MAPLE_RANGE_64  2
#define HP_MAPLE_ARANGE_64 3
#define HP_MAPLE_MAX_DEPTH 8
#define HP_MAPLE_PIVOTS	   15 /* of leaf_64 and range_64; arange_64 has 9. */
#define HP_VM_EXEC	   4
#define HP_PAGE_SHIFT	   12

/* The count of changes to an address space: an int from 6.4, a seqcount from 6.13. */
struct mm_struct___int_seq {
	int mm_lock_seq;
} __attribute__((preserve_access_index));
struct hp_seqcount {
	unsigned int sequence;
} __attribute__((preserve_access_index));
struct mm_struct___seqcount {
	struct hp_seqcount mm_lock_seq;
} __attribute__((preserve_access_index));

/* Walks the tree to the entry that holds `address`: a struct vm_area_struct, or 0. */
static __noinline __u64 hp_find_vma(struct hp_scratch *s, __u64 address)
{
	__u64 entry;

	if (!s)
		return 0;
	struct mm_struct *mm = (struct mm_struct *)s->walk.mm;

	entry = (__u64)BPF_CORE_READ(mm, mm_mt.ma_root);
	/* Only the root pointer is marked as a node by its two low bits; others need no test. */
	if ((entry & 3) != 2 || entry < 4096)
		return 0;
	for (int depth = 0; depth < HP_MAPLE_MAX_DEPTH; depth++) {
		__u32 type = (entry >> 3) & 0xf;
		__u32 slots_at = type == HP_MAPLE_ARANGE_64 ? 10 : 16;
		__u32 pivots = type == HP_MAPLE_ARANGE_64 ? 9 : HP_MAPLE_PIVOTS;
		__u32 slot = 0;

		/* parent, then the pivots; the slots lie behind them and one of them is read. */
		if (bpf_probe_read_kernel(s->node, 8 * (1 + HP_MAPLE_PIVOTS),
					  (void *)(entry & ~0xffULL)))
			return 0;
		for (int i = 0; i < HP_MAPLE_PIVOTS; i++) {
			__u64 pivot = s->node[1 + i];

			if (i >= pivots || address <= pivot || (i > 0 && pivot == 0))
				break;
			slot = i + 1;
		}
		if (bpf_probe_read_kernel(&entry, sizeof(entry),
					  (void *)((entry & ~0xffULL) + 8 * (slots_at + slot))))
			return 0;
		if (type == HP_MAPLE_LEAF_64 || entry == 0)
			return entry;
		if (type != HP_MAPLE_ARANGE_64 && type != HP_MAPLE_RANGE_64)
			return 0;
	}
	return 0;
}

/* Fills `mapping` for `address`; 0 when it lies in no mapping. */
static __noinline int hp_load_mapping(struct hp_scratch *s, struct hp_mapping *mapping,
				      __u64 address)
{
	struct vm_area_struct *vma;

	if (!s || !mapping)
		return 0;
	vma = (struct vm_area_struct *)hp_find_vma(s, address);
	mapping->end = 0;
	if (!vma)
		return 0;
	__u64 start = BPF_CORE_READ(vma, vm_start);
	__u64 end = BPF_CORE_READ(vma, vm_end);

	if (address < start || address >= end)
		return 0;
	mapping->start = start;
	mapping->file_id = HP_FILE_NONE;
	mapping->file_delta = 0;
	mapping->executable = !!(BPF_CORE_READ(vma, vm_flags) & HP_VM_EXEC);
	mapping->vm_file = (__u64)BPF_CORE_READ(vma, vm_file);
	mapping->end = end;
	if (mapping->vm_file) {
		mapping->file_delta = (BPF_CORE_READ(vma, vm_pgoff) << HP_PAGE_SHIFT) - start;
		if (mapping->executable)
			hp_identify_file(mapping);
	} else {
		struct mm_struct *mm = (struct mm_struct *)s->walk.mm;

		if ((__u64)BPF_CORE_READ(mm, context.vdso) == start) {
			mapping->file_id = HP_FILE_VDSO;
			mapping->file_delta = -start;
		}
	}
	return 1;
}

/* Keeps the cached mappings if they are of this address space, and it has not changed since. */
static __always_inline void hp_begin_mappings(struct hp_scratch *s, struct task_struct *task)
{
	struct mm_struct *mm = task->mm;
	__u64 start_time = task->group_leader->start_boottime;
	__u32 pid = task->tgid;
	__u32 zero = 0;
	struct hp_file_ids *ids = bpf_map_lookup_elem(&file_ids, &zero);
	__u32 epoch = ids ? *(volatile __u32 *)&ids->epoch : 0;
	__u32 seq = 0;
	int counted = 0;

	s->walk.mm = (__u64)mm;
	if (bpf_core_field_exists(((struct mm_struct___int_seq *)0)->mm_lock_seq)) {
		struct mm_struct___int_seq *with_int = (void *)mm;

		counted = !bpf_core_read(&seq, sizeof(seq), &with_int->mm_lock_seq);
	} else if (bpf_core_field_exists(((struct mm_struct___seqcount *)0)->mm_lock_seq)) {
		struct mm_struct___seqcount *with_seqcount = (void *)mm;

		counted = !bpf_core_read(&seq, sizeof(seq), &with_seqcount->mm_lock_seq);
	}
	if (counted && s->mappings_mm == (__u64)mm && s->mappings_seq == seq &&
	    s->mappings_epoch == epoch && s->mappings_pid == pid &&
	    s->mappings_start_time == start_time)
		return;
	for (int i = 0; i < HP_CACHED_MAPPINGS; i++)
		s->mappings[i].end = 0;
	s->mappings_mm = (__u64)mm;
	s->mappings_seq = seq;
	s->mappings_epoch = epoch;
	s->mappings_pid = pid;
	s->mappings_start_time = start_time;
}

/* The mapping that holds `address`, or NULL. */
static __always_inline struct hp_mapping *hp_find_mapping(struct hp_scratch *s, __u64 address)
{
	for (int i = 0; i < HP_CACHED_MAPPINGS; i++) {
		struct hp_mapping *mapping = &s->mappings[i];

		if (address < mapping->end && address >= mapping->start)
			return mapping;
	}
	__u32 next = s->next_mapping & (HP_CACHED_MAPPINGS - 1);
	struct hp_mapping *mapping = &s->mappings[next];

	s->next_mapping = next + 1;
	return hp_load_mapping(s, mapping, address) ? mapping : NULL;
}

#endif /* HOTPATH_MAPPING_BPF_H */
