/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table-driven stack walk: from a user thread's registers to the list of its callers.
 *
 * Each step finds the file and offset of pc, the rule that covers it (at most 11 steps of bisection
 * in one 1 KiB block), and by the rule the caller's pc, sp and rbp. Of rbx, which hardly any rule
 * needs (the dynamic linker's when it binds lazily), only the place is followed, and read where it
 * is needed. Where execution stopped (the leaf, or under a signal handler) all others are at hand.
 * The same source is compiled for the host by tests/bpf, with the helpers replaced.
 *
 *   Cost     measured in tests/bench/README.md: some tens of ns a frame when caches are warm.
 *   Loss     a walk that cannot go on says why: enum hp_walk_end.
 *   Kernel   6.1 (bpf_loop is 5.17).
 */
#ifndef HOTPATH_UNWIND_BPF_H
#define HOTPATH_UNWIND_BPF_H

#include "rule.bpf.h"

#define HP_STEP_ON	   0
#define HP_STEP_STOP	   1
#define HP_MAX_FRAME_BYTES (64ULL << 20) /* A frame pointer further away than this is none. */
#define HP_BAD_RBP	   1		 /* Misaligned, so that nothing follows it. */
#define HP_RBX_NOWHERE	   1		 /* An address that cannot be read. */

static __always_inline int hp_stop(struct hp_walk *w, __u32 end, __u32 file_id)
{
	w->end = end;
	w->failed_file = file_id;
	return HP_STEP_STOP;
}

/* Follows rbp. A zero frame pointer or return address marks the outermost frame (psABI 3.4.1). */
static __always_inline int hp_step_frame_pointer(struct hp_walk *w, __u32 file_id)
{
	__u64 bp = w->bp, caller_bp, caller_pc;

	if (bp == 0)
		return hp_stop(w, HP_WALK_COMPLETE, 0);
	if ((bp & 7) || bp < w->sp || bp - w->sp > HP_MAX_FRAME_BYTES)
		return hp_stop(w, HP_WALK_NO_RULE, file_id);
	if (hp_read_stack(w, bp, &caller_bp) || hp_read_stack(w, bp + 8, &caller_pc))
		return hp_stop(w, HP_WALK_BAD_MEMORY, file_id);
	if (caller_pc == 0)
		return hp_stop(w, HP_WALK_COMPLETE, 0);
	w->pc = caller_pc;
	w->sp = bp + 16;
	w->bp = caller_bp;
	w->bx_at = HP_RBX_NOWHERE;
	w->exact = HP_EXACT_NO;
	return HP_STEP_ON;
}

/* All registers of the interrupted code are in the ucontext that rsp points at. */
static __always_inline int hp_step_signal(struct hp_walk *w, __u32 file_id)
{
	__u64 context = w->sp, pc, sp, bp;

	if (bpf_probe_read_user(&pc, 8, (void *)context + HP_UCONTEXT_RIP) ||
	    bpf_probe_read_user(&sp, 8, (void *)context + HP_UCONTEXT_RSP) ||
	    bpf_probe_read_user(&bp, 8, (void *)context + HP_UCONTEXT_RBP))
		return hp_stop(w, HP_WALK_BAD_MEMORY, file_id);
	w->pc = pc;
	w->sp = sp;
	w->bp = bp;
	w->bx_at = context + HP_UCONTEXT_RBX;
	w->regs = context;
	w->exact = HP_EXACT_SIGNAL;
	return HP_STEP_ON;
}

/* Finds the caller by a rule of the file's table. */
static __noinline int hp_step_rule(struct hp_walk *w, const struct hp_rule *rule, __u32 file_id)
{
	__u64 cfa, base, caller_pc, caller_bp;

	if (!w || !rule)
		return HP_STEP_STOP;
	caller_bp = w->bp;
	switch (rule->cfa_kind) {
	case HP_CFA_REG:
	case HP_CFA_DEREF:
		if (rule->cfa_reg == HP_RSP)
			base = w->sp;
		else if (rule->cfa_reg == HP_RBP)
			base = w->bp;
		else if (hp_read_register(w, rule->cfa_reg, &base))
			return hp_stop(w, HP_WALK_NO_RULE, file_id);
		cfa = base + (__s64)rule->cfa_offset;
		if (rule->cfa_kind == HP_CFA_DEREF) {
			if (hp_read_stack(w, cfa, &base))
				return hp_stop(w, HP_WALK_BAD_MEMORY, file_id);
			cfa = base + (__s64)rule->cfa_add;
		}
		break;
	case HP_CFA_PLT:
		cfa = w->sp + 8 + ((w->pc & 15) >= (__u64)rule->cfa_offset ? 8 : 0);
		break;
	case HP_CFA_SIGNAL:
		return hp_step_signal(w, file_id);
	case HP_CFA_ROOT:
		return hp_stop(w, HP_WALK_COMPLETE, 0);
	default:
		/* A gap: code without rules, such as Go's beside C's, keeps frame pointers or ends
		 * here. */
		return hp_step_frame_pointer(w, file_id);
	}
	if (cfa < w->sp || cfa - w->sp > HP_MAX_FRAME_BYTES)
		return hp_stop(w, HP_WALK_BAD_MEMORY, file_id);
	if (rule->ra) {
		if (hp_read_register(w, rule->ra - 1, &caller_pc))
			return hp_stop(w, HP_WALK_NO_RULE, file_id);
	} else if (hp_read_stack(w, cfa - 8, &caller_pc)) {
		return hp_stop(w, HP_WALK_BAD_MEMORY, file_id);
	}
	if (rule->rbp_kind == HP_RBP_UNDEFINED) {
		caller_bp = HP_BAD_RBP;
	} else if (rule->rbp_kind != HP_RBP_SAME) {
		base = rule->rbp_kind == HP_RBP_CFA ? cfa : w->bp;
		if (hp_read_stack(w, base + (__s64)rule->rbp_offset, &caller_bp))
			return hp_stop(w, HP_WALK_BAD_MEMORY, file_id);
	}
	if (caller_pc == 0)
		return hp_stop(w, HP_WALK_COMPLETE, 0);
	if (rule->rbx_kind) {
		base = rule->rbx_kind == HP_RBX_CFA ? cfa : w->bp;
		w->bx_at = base - 8 * (__u64)rule->rbx_words;
		if (rule->rbx_kind == HP_RBX_UNDEFINED)
			w->bx_at = HP_RBX_NOWHERE;
	}
	w->pc = caller_pc;
	w->sp = cfa;
	w->bp = caller_bp;
	w->exact = HP_EXACT_NO;
	return HP_STEP_ON;
}

/* Notes a frame: the leaf side first, then a ring of the root side. */
static __always_inline void hp_record_frame(struct hp_scratch *s, __u64 frame)
{
	__u32 index = s->walk.frames++;

	if (index >= HP_MAX_LEAF_FRAMES)
		index =
		    HP_MAX_LEAF_FRAMES + ((index - HP_MAX_LEAF_FRAMES) & (HP_MAX_ROOT_FRAMES - 1));
	index += s->walk.kernel_frames;
	if (index < HP_MAX_KERNEL_FRAMES + HP_MAX_USER_FRAMES)
		s->frames[index] = frame;
}

struct hp_walk_context {
	struct hp_scratch *scratch;
};

/* One frame: note it, and find its caller. */
static long hp_step(__u32 index, struct hp_walk_context *context)
{
	struct hp_scratch *s = context->scratch;
	struct hp_walk *w = &s->walk;
	/* A return address may be the first byte behind its function: look inside the call. */
	__u64 at = w->exact ? w->pc : w->pc - 1;
	struct hp_mapping *mapping = hp_find_mapping(s, at);

	if (!mapping || !mapping->executable) {
		/* Inside execve the registers are those of the program that is gone already. */
		if (index == 0 && w->in_kernel)
			return hp_stop(w, HP_WALK_NO_USER, 0);
		if (index == 0)
			hp_record_frame(s, HP_FRAME_ANON << HP_FRAME_KIND_SHIFT | at);
		return hp_stop(w, HP_WALK_BAD_RETURN, 0);
	}
	__u32 file_id = mapping->file_id;

	if (file_id == HP_FILE_NONE) {
		hp_record_frame(s, HP_FRAME_ANON << HP_FRAME_KIND_SHIFT | at);
		return hp_step_frame_pointer(w, 0);
	}
	__u64 offset = (at + mapping->file_delta) & HP_FRAME_OFFSET_MASK;

	hp_record_frame(s, (__u64)file_id << HP_FRAME_FILE_SHIFT | offset);
	struct hp_file_info *info = bpf_map_lookup_elem(&file_infos, &file_id);

	if (!info)
		return hp_stop(w, HP_WALK_NO_RULE, file_id);
	if (info->state == HP_TABLE_READY) {
		__u32 number = hp_find_rule(file_id, offset);
		struct hp_rule *rule = bpf_map_lookup_elem(&rules, &number);

		return hp_step_rule(w, rule, file_id);
	}
	if (info->state == HP_TABLE_PENDING) {
		w->pending = 1;
		hp_request_again(mapping);
	}
	return hp_step_frame_pointer(w, file_id);
}

/*
 * Walks from the registers in s->walk (pc, sp, bp, exact, regs, mm). Frames land behind the kernel
 * frames in s->frames; s->walk.end says how it ended.
 */
static __always_inline void hp_walk_user(struct hp_scratch *s)
{
	struct hp_walk_context context = {.scratch = s};
	struct hp_walk *w = &s->walk;

	w->frames = 0;
	w->bx_at = 0;
	w->window_base = 0;
	w->pending = 0;
	w->failed_file = 0;
	w->end = HP_WALK_FRAME_LIMIT;
	bpf_loop(HP_MAX_WALKED_FRAMES, hp_step, &context, 0);
	/* Without a table a frame pointer may be anybody's: even a walk that seems whole is not. */
	if (w->pending)
		w->end = HP_WALK_TABLE_PENDING;
}

#endif /* HOTPATH_UNWIND_BPF_H */
