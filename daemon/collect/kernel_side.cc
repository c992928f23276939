// Loading of the BPF object, and what its failures mean to a person.
#include "daemon/collect/kernel_side.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdarg>
#include <cstdio>
#include <fstream>
#include <optional>
#include <span>
#include <string>

#include "bpf/abi.h"
#include "cpu.skel.h"

namespace hotpath {
namespace {

int LogLibbpf(libbpf_print_level level, const char* format, va_list arguments) {
  char line[512];
  std::vsnprintf(line, sizeof(line), format, arguments);
  std::string_view text(line);
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  // Its warnings are repeated in our own error, with the remedy.
  if (level != LIBBPF_DEBUG) spdlog::debug("libbpf: {}", text);
  return 0;
}

// Why loading failed, in the order in which a person should look.
Error ExplainLoadFailure(int error_number) {
  utsname kernel{};
  uname(&kernel);
  int major = 0, minor = 0;
  if (std::sscanf(kernel.release, "%d.%d", &major, &minor) == 2 &&
      (major < 6 || (major == 6 && minor < 1))) {
    return {ErrorCode::kUnsupported,
            fmt::format("load BPF programs: kernel {} is too old: 6.1 or newer is needed",
                        kernel.release)};
  }
  if (access("/sys/kernel/btf/vmlinux", R_OK) != 0) {
    return {ErrorCode::kUnsupported,
            "load BPF programs: /sys/kernel/btf/vmlinux is missing: a kernel built with "
            "CONFIG_DEBUG_INFO_BTF=y is needed"};
  }
  std::ifstream lockdown("/sys/kernel/security/lockdown");
  std::string state;
  if (std::getline(lockdown, state) && state.find("[confidentiality]") != std::string::npos) {
    return {ErrorCode::kUnsupported,
            "load BPF programs: lockdown=confidentiality forbids reading kernel memory: boot with "
            "lockdown=integrity or none"};
  }
  if (error_number == EPERM || error_number == EACCES) {
    return {ErrorCode::kPermission,
            "load BPF programs: not permitted: run as root, or with CAP_BPF and CAP_PERFMON"};
  }
  return {ErrorCode::kSystem, fmt::format("load BPF programs: {} (hotpath doctor tells more)",
                                          std::strerror(error_number))};
}

uint64_t RingBytes(uint64_t wanted) {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  if (wanted == 0) {
    const auto cpus = static_cast<uint64_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
    wanted = std::clamp<uint64_t>(cpus * (256 << 10), 1 << 20, 64 << 20);
  }
  return std::bit_ceil(std::max(wanted, page));
}

// Offset of a per-CPU variable of the kernel's own in its section; empty where BTF does not tell.
std::optional<int64_t> PerCpuOffset(const btf* types, const char* name) {
  const int section_id = btf__find_by_name_kind(types, ".data..percpu", BTF_KIND_DATASEC);
  const int variable_id = btf__find_by_name_kind(types, name, BTF_KIND_VAR);
  if (section_id < 0 || variable_id < 0) return std::nullopt;
  const btf_type* section = btf__type_by_id(types, static_cast<uint32_t>(section_id));
  const std::span variables(btf_var_secinfos(section), btf_vlen(section));
  const auto found =
      std::ranges::find(variables, static_cast<uint32_t>(variable_id), &btf_var_secinfo::type);
  if (found == variables.end()) return std::nullopt;
  return found->offset;
}

// Tells the programs where the kernel counts how long a CPU was idle, if this kernel's BTF says so.
void LocateIdleClocks(cpu_bpf* skeleton) {
  const std::unique_ptr<btf, decltype(&btf__free)> types(btf__load_vmlinux_btf(), btf__free);
  if (types == nullptr) return;
  const auto runqueue = PerCpuOffset(types.get(), "runqueues");
  const auto tick = PerCpuOffset(types.get(), "tick_cpu_sched");
  const auto timers = PerCpuOffset(types.get(), "hrtimer_bases");
  if (!runqueue || !tick || !timers) {
    spdlog::info("the kernel's BTF does not name its idle clocks: totals of idle CPUs are rougher");
    return;
  }
  skeleton->rodata->tick_sched_distance = *tick - *runqueue;
  skeleton->rodata->hrtimer_bases_distance = *timers - *runqueue;
}

// "memlock" of a map's fdinfo; 0 where it is not said.
uint64_t MapBytes(int map_fd) {
  std::ifstream info(fmt::format("/proc/self/fdinfo/{}", map_fd));
  for (std::string line; std::getline(info, line);) {
    unsigned long long bytes = 0;
    if (std::sscanf(line.c_str(), "memlock: %llu", &bytes) == 1) return bytes;
  }
  return 0;
}

}  // namespace

Result<std::unique_ptr<KernelSide>> KernelSide::Load(const Options& options) {
  libbpf_set_print(LogLibbpf);
  std::unique_ptr<KernelSide> side(new KernelSide);
  side->skeleton_ = cpu_bpf__open();
  if (side->skeleton_ == nullptr) return std::unexpected(ExplainLoadFailure(errno));
  side->ring_bytes_ = RingBytes(options.ring_bytes);
  bpf_map__set_max_entries(side->skeleton_->maps.events, static_cast<uint32_t>(side->ring_bytes_));
  side->skeleton_->rodata->wake_bytes = side->ring_bytes_ / 4;
  LocateIdleClocks(side->skeleton_);
  if (options.max_files > HP_FILE_FIRST && options.max_files < HP_MAX_FILES) {
    side->skeleton_->rodata->max_files = options.max_files;
  }
  if (const int error = cpu_bpf__load(side->skeleton_); error != 0) {
    return std::unexpected(ExplainLoadFailure(-error));
  }
  void* file_ids = mmap(nullptr, sizeof(hp_file_ids), PROT_READ | PROT_WRITE, MAP_SHARED,
                        side->file_ids_fd(), 0);
  if (file_ids == MAP_FAILED) return FailErrno("map the file ids");
  side->file_ids_ = static_cast<hp_file_ids*>(file_ids);
  side->file_ids_->next = HP_FILE_FIRST;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, side->skeleton_->obj) {
    side->map_bytes_ += MapBytes(bpf_map__fd(map));
  }
  return side;
}

KernelSide::~KernelSide() {
  if (file_ids_ != nullptr) munmap(file_ids_, sizeof(hp_file_ids));
  cpu_bpf__destroy(skeleton_);
}

int KernelSide::events_fd() const { return bpf_map__fd(skeleton_->maps.events); }
int KernelSide::files_fd() const { return bpf_map__fd(skeleton_->maps.files); }
int KernelSide::free_file_ids_fd() const { return bpf_map__fd(skeleton_->maps.free_file_ids); }
int KernelSide::file_ids_fd() const { return bpf_map__fd(skeleton_->maps.file_ids); }
int KernelSide::file_infos_fd() const { return bpf_map__fd(skeleton_->maps.file_infos); }
int KernelSide::file_requests_fd() const { return bpf_map__fd(skeleton_->maps.file_requests); }
int KernelSide::rules_fd() const { return bpf_map__fd(skeleton_->maps.rules); }
int KernelSide::tables_fd() const { return bpf_map__fd(skeleton_->maps.tables); }
int KernelSide::session_states_fd() const { return bpf_map__fd(skeleton_->maps.session_states); }
int KernelSide::session_configs_fd() const { return bpf_map__fd(skeleton_->maps.session_configs); }
int KernelSide::session_pids_fd() const { return bpf_map__fd(skeleton_->maps.session_pids); }

uint32_t KernelSide::max_files() const { return skeleton_->rodata->max_files; }
uint64_t KernelSide::files_numbered() const {
  return __atomic_load_n(&file_ids_->numbered, __ATOMIC_ACQUIRE);
}
void KernelSide::ForgetMappings() { __atomic_add_fetch(&file_ids_->epoch, 1, __ATOMIC_SEQ_CST); }

uint64_t KernelSide::files_without_id() const { return file_ids_->exhausted; }

KernelSide::RunTime KernelSide::program_run_time() const {
  RunTime sum;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton_->obj) {
    bpf_prog_info info{};
    uint32_t bytes = sizeof(info);
    if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &bytes) != 0) continue;
    sum.run_time_ns += info.run_time_ns;
    sum.runs += info.run_cnt;
  }
  return sum;
}

}  // namespace hotpath
