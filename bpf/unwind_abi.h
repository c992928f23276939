/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The contract of kernel and user side on unwinding: rules, and each file's table of them.
 * Fixed widths, little endian, sizes asserted. Included by bpf/ and daemon/files.
 */
#ifndef HOTPATH_BPF_UNWIND_ABI_H
#define HOTPATH_BPF_UNWIND_ABI_H

#ifndef __BPF__
#include <linux/types.h>
#endif

/*
 * Unwind rules. A row of a table is one u32: low 16 bits of the file offset, index into the
 * global rule array in the high 16 bits. It holds until the next row.
 */
enum hp_cfa_kind {
	HP_CFA_NONE = 0,   /* No rule: a gap between functions, or one that cannot be followed. */
	HP_CFA_REG = 1,	   /* CFA = reg + cfa_offset */
	HP_CFA_DEREF = 2,  /* CFA = *(reg + cfa_offset) + cfa_add */
	HP_CFA_PLT = 3,	   /* CFA = rsp + 8 + ((rip & 15) >= cfa_offset ? 8 : 0) */
	HP_CFA_SIGNAL = 4, /* All registers are in the ucontext that rsp points at. */
	HP_CFA_ROOT = 5,   /* The outermost frame: nobody called it. */
	HP_CFA_FRAME_POINTER = 6, /* No table says more than that rbp is a frame pointer. */
};

enum hp_rbp_kind {
	HP_RBP_SAME = 0,      /* The caller's rbp is still in rbp. */
	HP_RBP_CFA = 1,	      /* Saved at CFA + rbp_offset. */
	HP_RBP_DEREF_RBP = 2, /* Saved at rbp + rbp_offset (functions that realign their stack). */
	HP_RBP_UNDEFINED = 3, /* Lost; a frame further out that needs it ends the walk. */
};

enum hp_rbx_kind {
	HP_RBX_SAME = 0,      /* The caller's rbx is still where this frame's was. */
	HP_RBX_CFA = 1,	      /* Saved at CFA - 8 * rbx_words. */
	HP_RBX_RBP = 2,	      /* Saved at rbp - 8 * rbx_words. */
	HP_RBX_UNDEFINED = 3, /* Lost; a frame further out that needs it ends the walk. */
};

struct hp_rule {
	__u8 cfa_kind;
	__u8 cfa_reg; /* DWARF's: rax rdx rcx rbx rsi rdi rbp rsp r8..r15 are 0..15. */
	__u8 rbp_kind;
	__u8 ra; /* 0: at CFA - 8, as nearly always. Else 1 + number of its register. */
	__s32 cfa_offset;
	__s16 cfa_add;
	__u8 rbx_kind;
	__u8 rbx_words;
	__s32 rbp_offset;
};

#define HP_MAX_RULES 16384
#define HP_RULE_NONE 0 /* rules[0]: HP_CFA_NONE */

/*
 * One file's table is one inner map of 64-byte lines, read as an array of u32 words:
 *   words [0, blocks]         first row of each 1 KiB block of file offsets, then the row count
 *   words [rows_at, ...)      the rows, sorted
 * Row 0 is always a row of rule HP_RULE_NONE at the first block's start.
 */
#define HP_TABLE_LINE_BYTES 64
#define HP_TABLE_LINE_WORDS 16
#define HP_BLOCK_SHIFT	    10

enum hp_table_state {
	HP_TABLE_PENDING = 0, /* Seen, not built yet: frame pointers are followed meanwhile. */
	HP_TABLE_READY = 1,
	HP_TABLE_FRAME_POINTER = 2, /* The file has no unwind information. */
	HP_TABLE_FAILED = 3, /* The file is malformed or too large: counted, frame pointers. */
};

/* What the walk needs to know of a file, by file id. */
struct hp_file_info {
	__u32 state;	   /* enum hp_table_state */
	__u32 first_block; /* File offset >> HP_BLOCK_SHIFT of words[0]. */
	__u32 blocks;
	__u32 rows_at; /* Word index of row 0; a multiple of HP_TABLE_LINE_WORDS. */
};

#ifndef __cplusplus
#define static_assert _Static_assert
#endif
static_assert(sizeof(struct hp_rule) == 16, "hp_rule");
static_assert(sizeof(struct hp_file_info) == 16, "hp_file_info");

#endif /* HOTPATH_BPF_UNWIND_ABI_H */
