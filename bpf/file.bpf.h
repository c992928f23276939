/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which file is this: a number for each, and one event to user space when it is met first.
 *
 *   Cost     a hash look-up for a known file; some us once for a new one (its path).
 *   Loss     a file that finds no number is counted, and its frames are process addresses.
 *   Kernel   6.1.
 */
#ifndef HOTPATH_FILE_BPF_H
#define HOTPATH_FILE_BPF_H

#include "maps.bpf.h"

#define HP_RETRY_NS	 20000000ULL /* A file nobody could open is asked for again after this. */
#define HP_CTIME_QUERIED (1U << 31)

/* Ids there are, HP_MAX_FILES at most: a smaller number is for tests. */
const volatile __u32 max_files __weak = HP_MAX_FILES;

/* Where the change time lies depends on the kernel: until 6.5, until 6.10, since 6.11. */
struct inode___until_6_5 {
	struct timespec64 i_ctime;
} __attribute__((preserve_access_index));
struct inode___until_6_10 {
	struct timespec64 __i_ctime;
} __attribute__((preserve_access_index));
struct inode___now {
	__s64 i_ctime_sec;
	__u32 i_ctime_nsec;
} __attribute__((preserve_access_index));
static __always_inline __u64 hp_inode_ctime_ns(struct inode *inode)
{
	if (bpf_core_field_exists(((struct inode___now *)0)->i_ctime_sec)) {
		struct inode___now *now = (void *)inode;

		/* Since 6.13 the top bit says that somebody has asked for the time. */
		return BPF_CORE_READ(now, i_ctime_sec) * 1000000000ULL +
		       (BPF_CORE_READ(now, i_ctime_nsec) & ~HP_CTIME_QUERIED);
	}
	if (bpf_core_field_exists(((struct inode___until_6_10 *)0)->__i_ctime)) {
		struct inode___until_6_10 *middle = (void *)inode;

		return BPF_CORE_READ(middle, __i_ctime.tv_sec) * 1000000000ULL +
		       BPF_CORE_READ(middle, __i_ctime.tv_nsec);
	}
	struct inode___until_6_5 *old = (void *)inode;

	return BPF_CORE_READ(old, i_ctime.tv_sec) * 1000000000ULL +
	       BPF_CORE_READ(old, i_ctime.tv_nsec);
}

/* Components from leaf to root, each ended by NUL, across mounts. Returns the bytes used. */
static __noinline __u32 hp_file_path(struct hp_new_file *event, struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct vfsmount *vfsmount = BPF_CORE_READ(file, f_path.mnt);
	struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	__u32 used = 0;

	if (!event)
		return 0;
	for (int i = 0; i < 32; i++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);

		if (dentry == BPF_CORE_READ(mount, mnt.mnt_root) || dentry == parent) {
			struct mount *outer = BPF_CORE_READ(mount, mnt_parent);

			if (!outer || outer == mount)
				break;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = outer;
			continue;
		}
		if (used > HP_PATH_LEN - 129)
			break;
		long n = bpf_probe_read_kernel_str(event->path + used, 128,
						   BPF_CORE_READ(dentry, d_name.name));
		if (n <= 0 || n > 128)
			break;
		used += n;
		dentry = parent;
	}
	return used;
}

/* Tells user space of a file that it should open, through this process while it lives. */
static __noinline int hp_request_file(const struct hp_mapping *mapping, struct hp_file_key *key)
{
	struct hp_new_file *event;
	__u32 id;

	if (!mapping || !key)
		return 0;
	id = mapping->file_id;
	__u64 *asked = bpf_map_lookup_elem(&file_requests, &id);
	__u64 now = bpf_ktime_get_ns();

	if (!asked || (*asked && now - *asked < HP_RETRY_NS))
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event)
		return 0;
	*asked = now;
	event->kind = HP_EVENT_NEW_FILE;
	event->file_id = id;
	event->key = *key;
	event->vma_start = mapping->start;
	event->vma_end = mapping->end;
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->path_bytes = hp_file_path(event, (struct file *)mapping->vm_file);
	bpf_ringbuf_submit(event, BPF_RB_FORCE_WAKEUP);
	return 0;
}

static __always_inline void hp_read_file_key(struct file *file, struct hp_file_key *key)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	key->inode = BPF_CORE_READ(inode, i_ino);
	key->device = BPF_CORE_READ(inode, i_sb, s_dev);
	key->generation = BPF_CORE_READ(inode, i_generation);
	key->ctime_ns = hp_inode_ctime_ns(inode);
}

/* An id that stands for no file, or HP_FILE_NONE. */
static __always_inline __u32 hp_unused_id(struct hp_file_ids *ids)
{
	__u32 id;

	if (ids->next < max_files) {
		id = __sync_fetch_and_add(&ids->next, 1);
		if (id < max_files)
			return id;
	}
	return bpf_map_pop_elem(&free_file_ids, &id) ? HP_FILE_NONE : id;
}

/* The id of the mapping's file; a file never seen before gets one. */
static __noinline int hp_identify_file(struct hp_mapping *mapping)
{
	struct hp_file_key key = {};
	__u32 zero = 0;
	struct hp_file_ids *ids = bpf_map_lookup_elem(&file_ids, &zero);
	__u32 *known;
	__u32 id;

	if (!mapping || !ids)
		return 0;
	hp_read_file_key((struct file *)mapping->vm_file, &key);
	known = bpf_map_lookup_elem(&files, &key);
	if (known) {
		mapping->file_id = *known;
		return 0;
	}
	id = hp_unused_id(ids);
	if (id == HP_FILE_NONE || bpf_map_update_elem(&files, &key, &id, BPF_NOEXIST)) {
		/* Another CPU was first, or there is no room. */
		if (id != HP_FILE_NONE)
			bpf_map_push_elem(&free_file_ids, &id, 0);
		known = bpf_map_lookup_elem(&files, &key);
		if (!known)
			__sync_fetch_and_add(&ids->exhausted, 1);
		mapping->file_id = known ? *known : HP_FILE_NONE;
		return 0;
	}
	mapping->file_id = id;
	__sync_fetch_and_add(&ids->numbered, 1);
	hp_request_file(mapping, &key);
	return 0;
}

/* Asks again for a file whose table is still missing. */
static __noinline int hp_request_again(struct hp_mapping *mapping)
{
	struct hp_file_key key = {};

	if (!mapping || !mapping->vm_file)
		return 0;
	hp_read_file_key((struct file *)mapping->vm_file, &key);
	return hp_request_file(mapping, &key);
}

#endif /* HOTPATH_FILE_BPF_H */
