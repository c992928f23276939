/* SPDX-License-Identifier: GPL-2.0-only */
/* Samples out: fill the header, send only the frames used, count every loss by its reason. */
#ifndef HOTPATH_EMIT_BPF_H
#define HOTPATH_EMIT_BPF_H

#include "maps.bpf.h"

/* Bytes in the ring buffer at which the reader is woken; until then it comes by itself. */
const volatile __u64 wake_bytes __weak = 256 << 10;

static __always_inline void hp_count_loss(struct hp_session_state *state, __u32 loss, __u64 value,
					  __u64 bytes)
{
	if (loss < HP_LOSSES) {
		state->lost_samples[loss]++;
		state->lost_value[loss] += value;
		state->lost_bytes[loss] += bytes;
	}
}

/* Sends s->sample with its frames. */
static __always_inline void hp_emit_sample(struct hp_scratch *s, struct hp_session_state *state)
{
	struct hp_sample *sample = &s->sample;
	__u32 user = s->walk.frames;

	sample->cut = 0;
	if (user > HP_MAX_USER_FRAMES) {
		sample->cut = 1 + ((user - HP_MAX_LEAF_FRAMES) & (HP_MAX_ROOT_FRAMES - 1));
		user = HP_MAX_USER_FRAMES;
	}
	sample->kernel_frames = s->walk.kernel_frames;
	sample->user_frames = user;
	sample->walk_end = s->walk.end;
	sample->failed_file = s->walk.failed_file;
	if (s->walk.end < HP_WALK_ENDS)
		state->walk_ends[s->walk.end]++;

	__u64 bytes = sizeof(*sample) + 8 * (s->walk.kernel_frames + user);

	if (bytes > sizeof(*sample) + sizeof(s->frames)) {
		hp_count_loss(state, HP_LOSS_TOO_LONG, sample->value, sample->bytes);
		return;
	}
	__u64 wake = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > wake_bytes
			 ? BPF_RB_FORCE_WAKEUP
			 : BPF_RB_NO_WAKEUP;

	if (bpf_ringbuf_output(&events, sample, bytes, wake)) {
		hp_count_loss(state, HP_LOSS_RING_FULL, sample->value, sample->bytes);
		return;
	}
	state->samples++;
	state->value += sample->value;
	state->bytes += sample->bytes;
}

#endif /* HOTPATH_EMIT_BPF_H */
