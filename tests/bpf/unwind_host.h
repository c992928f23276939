// bpf/unwind.bpf.h compiled for the host: the same source, with the kernel's helpers replaced.
#pragma once

#include <stdint.h>

#include "bpf/abi.h"
#include "bpf/unwind_abi.h"

#ifdef __cplusplus
extern "C" {
#endif

// One stretch of the target's address space.
struct host_mapping {
  uint64_t start, end, file_delta;
  uint32_t file_id, executable;
};

// One file's table, as TableLoader would have put it into the kernel.
struct host_table {
  struct hp_file_info info;
  const uint32_t* words;
  uint32_t word_count;
};

// What the walk runs on.
struct host_target {
  void* context;
  // 0 on success.
  int (*read_memory)(void* context, uint64_t address, void* to, uint32_t bytes);
  // 1 when `address` lies in a mapping.
  int (*find_mapping)(void* context, uint64_t address, struct host_mapping* mapping);
  const struct host_table* tables;  // By file id.
  uint32_t table_count;
  const struct hp_rule* rules;
  uint32_t rule_count;
  struct {
    uint64_t r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs,
        flags, sp, ss;
  } regs;  // Laid out as the kernel's struct pt_regs.
};

struct host_walk {
  uint64_t frames[HP_MAX_USER_FRAMES];
  uint32_t frame_count;  // Walked; more than HP_MAX_USER_FRAMES where the middle was cut.
  uint32_t end;          // enum hp_walk_end
};

// Walks the target's stack. Single-threaded.
void host_walk_user(const struct host_target* target, struct host_walk* walk);

#ifdef __cplusplus
}
#endif
