/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a step of the walk reads: the rule of a file offset, stack memory, registers.
 *
 *   Cost     a rule touches three or four cache lines; stack memory is read for two frames at a
 * time. Loss     none here: a failed read is the caller's to report. Kernel   6.1.
 */
#ifndef HOTPATH_RULE_BPF_H
#define HOTPATH_RULE_BPF_H

#include "maps.bpf.h"

#define HP_BISECT_STEPS 11 /* 2^10 rows at most in a block of 1024 bytes. */

#define HP_RBX 3
#define HP_RBP 6
#define HP_RSP 7

/* Where x86-64 keeps each DWARF register in struct pt_regs and in a ucontext, in bytes. */
#define HP_UCONTEXT_RBP 120
#define HP_UCONTEXT_RBX 128
#define HP_UCONTEXT_RSP 160
#define HP_UCONTEXT_RIP 168

static __always_inline __u32 hp_pt_regs_offset(__u32 reg)
{
	/* rax rdx rcx rbx rsi rdi rbp rsp r8..r15 */
	switch (reg) {
	case 0:
		return 80;
	case 1:
		return 96;
	case 2:
		return 88;
	case 3:
		return 40;
	case 4:
		return 104;
	case 5:
		return 112;
	case 6:
		return 32;
	case 7:
		return 152;
	case 8:
		return 72;
	case 9:
		return 64;
	case 10:
		return 56;
	case 11:
		return 48;
	case 12:
		return 24;
	case 13:
		return 16;
	case 14:
		return 8;
	default:
		return 0; /* 15 */
	}
}

static __always_inline __u32 hp_ucontext_offset(__u32 reg)
{
	switch (reg) {
	case 0:
		return 144;
	case 1:
		return 136;
	case 2:
		return 152;
	case HP_RBX:
		return HP_UCONTEXT_RBX;
	case 4:
		return 112;
	case 5:
		return 104;
	case HP_RBP:
		return HP_UCONTEXT_RBP;
	case HP_RSP:
		return HP_UCONTEXT_RSP;
	default:
		return 40 + 8 * (reg - 8); /* r8..r15 */
	}
}

/* Reads 8 bytes of the stack, through a window that serves the next frames too. 0 on success. */
static __noinline int hp_read_stack(struct hp_walk *w, __u64 address, __u64 *value)
{
	if (!w || !value)
		return 1;
	__u64 at = address - w->window_base;

	if (address & 7)
		return bpf_probe_read_user(value, 8, (void *)address) != 0;
	if (at >= sizeof(w->window)) {
		if (bpf_probe_read_user(w->window, sizeof(w->window), (void *)address)) {
			/* The window may reach past the end of the stack. */
			w->window_base = 0;
			return bpf_probe_read_user(value, 8, (void *)address) != 0;
		}
		w->window_base = address;
		at = 0;
	}
	*value = w->window[(at >> 3) & (HP_STACK_WORDS - 1)];
	return 0;
}

/* rbx in any frame; any other register but rsp, rbp and rip where execution stopped. 0 on success.
 */
static __noinline int hp_read_register(struct hp_walk *w, __u32 reg, __u64 *value)
{
	if (!w || !value)
		return 1;
	reg &= 15;
	if (reg == HP_RBX && w->bx_at)
		return hp_read_stack(w, w->bx_at, value);
	if (reg == HP_RBX)
		return bpf_probe_read_kernel(value, 8,
					     (void *)w->regs + hp_pt_regs_offset(HP_RBX)) != 0;
	if (w->exact == HP_EXACT_LEAF)
		return bpf_probe_read_kernel(value, 8, (void *)w->regs + hp_pt_regs_offset(reg)) !=
		       0;
	if (w->exact == HP_EXACT_SIGNAL)
		return bpf_probe_read_user(value, 8, (void *)w->regs + hp_ucontext_offset(reg)) !=
		       0;
	return 1;
}

static __always_inline __u32 hp_table_word(void *table, __u32 index)
{
	__u32 line = index / HP_TABLE_LINE_WORDS;
	struct hp_table_line *words = bpf_map_lookup_elem(table, &line);

	return words ? words->words[index & (HP_TABLE_LINE_WORDS - 1)] : 0;
}

/* The global number of the rule that covers a file offset; HP_RULE_NONE in a gap. */
static __noinline __u32 hp_find_rule(__u32 file_id, __u64 offset)
{
	struct hp_file_info *info = bpf_map_lookup_elem(&file_infos, &file_id);
	void *table = bpf_map_lookup_elem(&tables, &file_id);

	if (!info || !table)
		return HP_RULE_NONE;
	__u64 block = (offset >> HP_BLOCK_SHIFT) - info->first_block;
	__u32 rows_at = info->rows_at;

	if (block >= info->blocks)
		return HP_RULE_NONE;
	__u32 low = hp_table_word(table, block);
	__u32 high = hp_table_word(table, block + 1);
	__u32 target = offset & 0xffff;
	__u32 found = 0;
	__u32 first = low;

	/* The last row at or before the target; rows below low are, those from high on are not. */
	for (int i = 0; i < HP_BISECT_STEPS && low < high; i++) {
		__u32 middle = (low + high) / 2;
		__u32 row = hp_table_word(table, rows_at + middle);

		if ((row & 0xffff) <= target) {
			low = middle + 1;
			found = row;
		} else {
			high = middle;
		}
	}
	if (low == first && first > 0)
		found = hp_table_word(table, rows_at + first - 1);
	return found >> 16;
}

#endif /* HOTPATH_RULE_BPF_H */
