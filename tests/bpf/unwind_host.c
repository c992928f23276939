// The unwinder's own source, with maps and helpers that read a host_target.
#include "tests/bpf/unwind_host.h"

#include <string.h>

#define SEC(name)
#undef __always_inline
#define __always_inline inline
#define __noinline __attribute__((noinline))
#define __weak
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value)* name
#define __array(name, value) typeof(value)* name[]

enum {
  BPF_MAP_TYPE_HASH = 1,
  BPF_MAP_TYPE_ARRAY = 2,
  BPF_MAP_TYPE_PERCPU_ARRAY = 6,
  BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
  BPF_MAP_TYPE_QUEUE = 22,
  BPF_MAP_TYPE_RINGBUF = 27,
  BPF_F_MMAPABLE = 1 << 10,
  BPF_F_INNER_MAP = 1 << 12,
};

typedef __u64 u64;

static const struct host_target* host;

static void* bpf_map_lookup_elem(void* map, const void* key);
static long bpf_probe_read_user(void* to, __u32 bytes, const void* from) {
  return host->read_memory(host->context, (uint64_t)from, to, bytes);
}
static long bpf_probe_read_kernel(void* to, __u32 bytes, const void* from) {
  memcpy(to, from, bytes);  // Only the registers are read so.
  return 0;
}
static long bpf_loop(__u32 count, void* step, void* context, __u64 flags) {
  long (*function)(__u32, void*) = (long (*)(__u32, void*))step;
  (void)flags;
  for (__u32 i = 0; i < count; i++) {
    if (function(i, context)) return i + 1;
  }
  return count;
}

#include "bpf/maps.bpf.h"

static struct hp_scratch host_scratch;

static struct hp_mapping* hp_find_mapping(struct hp_scratch* s, __u64 address) {
  struct hp_mapping* mapping = &s->mappings[0];
  struct host_mapping found;
  if (!host->find_mapping(host->context, address, &found)) return NULL;
  mapping->start = found.start;
  mapping->end = found.end;
  mapping->file_delta = found.file_delta;
  mapping->file_id = found.file_id;
  mapping->executable = found.executable;
  return mapping;
}

static int hp_request_again(struct hp_mapping* mapping) {
  (void)mapping;
  return 0;
}

#include "bpf/unwind.bpf.h"

static void* bpf_map_lookup_elem(void* map, const void* key) {
  const __u32 index = *(const __u32*)key;
  if (map == &file_infos) {
    return index < host->table_count ? (void*)&host->tables[index].info : NULL;
  }
  if (map == &tables) return index < host->table_count ? (void*)&host->tables[index] : NULL;
  if (map == &rules) return index < host->rule_count ? (void*)&host->rules[index] : NULL;
  const struct host_table* table = map;
  const __u32 word = index * HP_TABLE_LINE_WORDS;
  return word < table->word_count ? (void*)&table->words[word] : NULL;
}

void host_walk_user(const struct host_target* target, struct host_walk* walk) {
  host = target;
  memset(&host_scratch, 0, sizeof(host_scratch));
  host_scratch.walk.pc = target->regs.ip;
  host_scratch.walk.sp = target->regs.sp;
  host_scratch.walk.bp = target->regs.bp;
  host_scratch.walk.regs = (uint64_t)&target->regs;
  host_scratch.walk.exact = HP_EXACT_LEAF;
  hp_walk_user(&host_scratch);
  memcpy(walk->frames, host_scratch.frames, sizeof(walk->frames));
  walk->frame_count = host_scratch.walk.frames;
  walk->end = host_scratch.walk.end;
}
