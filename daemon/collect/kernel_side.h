// The BPF programs and maps, loaded: everything that lives in the kernel as long as we do.
#pragma once

#include <cstdint>
#include <memory>

#include "daemon/base/result.h"

struct cpu_bpf;
struct hp_file_ids;

namespace hotpath {

// Owns the loaded object; unloads it when destroyed (nothing is pinned). Built once, used by
// CpuSampler, RingReader and TableLoader through map descriptors.
class KernelSide {
 public:
  struct Options {
    // Rounded up to a power of two of pages. 0: 256 KiB a CPU, 1 MiB at least, 64 MiB at most.
    uint64_t ring_bytes = 0;
    uint32_t max_files = 0;  // Files that have a number at one time; 0: HP_MAX_FILES. For tests.
  };

  // Errors: kPermission (names the capability), kUnsupported (kernel before 6.1, no BTF, lockdown),
  // kSystem. The message says what to do.
  static Result<std::unique_ptr<KernelSide>> Load(const Options& options);
  ~KernelSide();

  int events_fd() const;  // The ring buffer.
  int files_fd() const;
  int free_file_ids_fd() const;
  int file_ids_fd() const;
  int file_infos_fd() const;
  int file_requests_fd() const;
  int rules_fd() const;
  int tables_fd() const;
  int session_states_fd() const;
  int session_configs_fd() const;
  int session_pids_fd() const;
  uint64_t ring_bytes() const { return ring_bytes_; }
  uint32_t max_files() const;
  // Times that a file got an id, since start.
  uint64_t files_numbered() const;
  // No mapping that the kernel side has found until now is used by a program that starts after.
  void ForgetMappings();
  // Memory of all maps but the unwind tables, as the kernel counts it.
  uint64_t map_bytes() const { return map_bytes_; }
  // New files that found no id, since start.
  uint64_t files_without_id() const;
  cpu_bpf* skeleton() { return skeleton_; }

  // Run time and runs of our programs, where kernel.bpf_stats_enabled is 1; else 0 and 0.
  struct RunTime {
    uint64_t run_time_ns = 0;
    uint64_t runs = 0;
  };
  RunTime program_run_time() const;

 private:
  KernelSide() = default;
  cpu_bpf* skeleton_ = nullptr;
  hp_file_ids* file_ids_ = nullptr;  // The kernel side's own, mapped.
  uint64_t ring_bytes_ = 0;
  uint64_t map_bytes_ = 0;
};

}  // namespace hotpath
