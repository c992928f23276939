// SPDX-License-Identifier: GPL-2.0-only
// clang-format off: kernel style, as in bpf/.
// table_memory: one look-up of an unwind rule, in each layout of table memory that was considered.
//
//   Hook     none: run once by bpf_prog_test_run, over all offsets in `offsets`.
//   Cost     what it measures. `nothing` is the loop without a look-up.
//   Kernel   6.1.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "maps.bpf.h"
#include "mapping.bpf.h"
#include "unwind.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define BENCH_FILE 2 /* The file whose rules are looked up. */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << 20);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} offsets SEC(".maps");

/* The other layout: memory for all tables, of fixed size; user space gives out its pages. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct hp_table_line);
} flat_tables SEC(".maps");

__u32 flat_base = 0; /* Line at which the file's table begins. */
__u64 sum = 0;	     /* Of the rules found: the same in each layout. */
__u64 run_ns = 0;

static __always_inline __u32 flat_word(__u32 index)
{
	__u32 line = flat_base + index / HP_TABLE_LINE_WORDS;
	struct hp_table_line *words = bpf_map_lookup_elem(&flat_tables, &line);

	return words ? words->words[index & (HP_TABLE_LINE_WORDS - 1)] : 0;
}

/* hp_find_rule, but for where a word comes from. */
static __noinline __u32 find_rule_flat(__u32 file_id, __u64 offset)
{
	struct hp_file_info *info = bpf_map_lookup_elem(&file_infos, &file_id);

	if (!info)
		return HP_RULE_NONE;
	__u64 block = (offset >> HP_BLOCK_SHIFT) - info->first_block;
	__u32 rows_at = info->rows_at;

	if (block >= info->blocks)
		return HP_RULE_NONE;
	__u32 low = flat_word(block);
	__u32 high = flat_word(block + 1);
	__u32 target = offset & 0xffff;
	__u32 found = 0;
	__u32 first = low;

	for (int i = 0; i < HP_BISECT_STEPS && low < high; i++) {
		__u32 middle = (low + high) / 2;
		__u32 row = flat_word(rows_at + middle);

		if ((row & 0xffff) <= target) {
			low = middle + 1;
			found = row;
		} else {
			high = middle;
		}
	}
	if (low == first && first > 0)
		found = flat_word(rows_at + first - 1);
	return found >> 16;
}

static long step_nothing(__u32 index, void *context)
{
	__u64 *offset = bpf_map_lookup_elem(&offsets, &index);

	if (!offset)
		return 1;
	sum += *offset;
	return 0;
}

static long step_nested(__u32 index, void *context)
{
	__u64 *offset = bpf_map_lookup_elem(&offsets, &index);

	if (!offset)
		return 1;
	sum += hp_find_rule(BENCH_FILE, *offset);
	return 0;
}

static long step_flat(__u32 index, void *context)
{
	__u64 *offset = bpf_map_lookup_elem(&offsets, &index);

	if (!offset)
		return 1;
	sum += find_rule_flat(BENCH_FILE, *offset);
	return 0;
}

#define BENCH(name)                                                                                \
	SEC("syscall")                                                                             \
	int name(void *ctx)                                                                        \
	{                                                                                          \
		__u64 begin = bpf_ktime_get_ns();                                                  \
                                                                                                   \
		sum = 0;                                                                           \
		bpf_loop(1 << 20, step_##name, NULL, 0);                                           \
		run_ns = bpf_ktime_get_ns() - begin;                                               \
		return 0;                                                                          \
	}

BENCH(nothing)
BENCH(nested)
BENCH(flat)
