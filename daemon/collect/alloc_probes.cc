// The life of a window: prepare, attach, arm, wait, disarm, close, read the log.
#include "daemon/collect/alloc_probes.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <span>
#include <unordered_map>
#include <utility>

#include "alloc.skel.h"
#include "bpf/abi.h"
#include "bpf/alloc_abi.h"

namespace hotpath {
namespace {

constexpr uint64_t kPrepareNs = 14'000'000;  // The first decoy waits for one or two grace periods.
constexpr uint64_t kDecoyEveryNs = 2'500'000;  // Shorter than a grace period.
// Our own thread, while it attaches, keeps a CPU from whoever would run there. A window begins this
// long after, when they run again.
constexpr uint64_t kSettleNs = 100'000;
constexpr uint64_t kSliceNs = 500'000;  // How late a stop or a full log may be noticed.
constexpr uint32_t kUprobeMulti = 48;   // enum bpf_attach_type of Linux 6.6.

static_assert(static_cast<int>(HitKind::kSwitchOut) == 5);

uint64_t MonotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

void SleepUntil(uint64_t time_ns) {
  const timespec at{.tv_sec = static_cast<time_t>(time_ns / 1'000'000'000),
                    .tv_nsec = static_cast<long>(time_ns % 1'000'000'000)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) == EINTR) {
  }
}

// Is only probed, never called.
[[gnu::noinline, gnu::used]] void DecoyPlace() { asm volatile("nop"); }

template <typename T>
Result<T*> MapArray(const bpf_map* map, size_t count) {
  void* mapped =
      mmap(nullptr, sizeof(T) * count, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
  if (mapped == MAP_FAILED) return FailErrno(fmt::format("map {}", bpf_map__name(map)));
  return static_cast<T*>(mapped);
}

HitKind KindOf(uint8_t kind) {
  switch (kind) {
    case HP_HIT_FIRST:
      return HitKind::kFirst;
    case HP_HIT_SECOND:
      return HitKind::kSecond;
    case HP_HIT_WALKED:
      return HitKind::kWalked;
    case HP_HIT_SWITCH_IN:
      return HitKind::kSwitchIn;
    case HP_HIT_SWITCH_OUT:
      return HitKind::kSwitchOut;
    default:
      return HitKind::kOnly;
  }
}

uint64_t CookieOf(const AllocSite& site) {
  uint64_t cookie = uint64_t{site.size_register} << HP_SITE_SIZE_SHIFT;
  if (site.by_register) cookie |= (uint64_t{*site.by_register} + 1) << HP_SITE_BY_SHIFT;
  if (site.skip_register) {
    cookie |= (uint64_t{*site.skip_register} + 1) << HP_SITE_SKIP_SHIFT;
    cookie |= uint64_t{site.skip_up_to} << HP_SITE_UPTO_SHIFT;
  }
  if (site.role == AllocSite::Role::kSecond) cookie |= HP_SITE_SECOND;
  if (site.role == AllocSite::Role::kOnly) cookie |= HP_SITE_ONLY;
  return cookie;
}

}  // namespace

Result<std::unique_ptr<AllocProbes>> AllocProbes::Load(const KernelSide& kernel,
                                                       const std::atomic<bool>* stopped) {
  std::unique_ptr<AllocProbes> probes(new AllocProbes);
  probes->stopped_ = stopped;
  probes->session_ = HP_SESSION_OF(HP_TYPE_ALLOCS);
  probes->skeleton_ = alloc_bpf__open();
  if (probes->skeleton_ == nullptr) return FailErrno("open the allocation programs");
  const auto& maps = probes->skeleton_->maps;
  for (const auto& [map, fd] : {std::pair{maps.events, kernel.events_fd()},
                                {maps.files, kernel.files_fd()},
                                {maps.free_file_ids, kernel.free_file_ids_fd()},
                                {maps.file_ids, kernel.file_ids_fd()},
                                {maps.file_infos, kernel.file_infos_fd()},
                                {maps.file_requests, kernel.file_requests_fd()},
                                {maps.rules, kernel.rules_fd()},
                                {maps.tables, kernel.tables_fd()},
                                {maps.session_states, kernel.session_states_fd()},
                                {maps.session_configs, kernel.session_configs_fd()},
                                {maps.session_pids, kernel.session_pids_fd()}}) {
    if (bpf_map__reuse_fd(map, fd) != 0) {
      return FailErrno(fmt::format("share the map {}", bpf_map__name(map)));
    }
  }
  probes->skeleton_->rodata->wake_bytes = kernel.ring_bytes() / 4;
  probes->skeleton_->rodata->max_files = kernel.max_files();
  for (bpf_program* program :
       {probes->skeleton_->progs.alloc_hit, probes->skeleton_->progs.alloc_nothing}) {
    bpf_program__set_expected_attach_type(program, static_cast<bpf_attach_type>(kUprobeMulti));
  }
  if (alloc_bpf__load(probes->skeleton_) != 0) return FailErrno("load the allocation programs");
  if (Result<void> mapped = probes->MapAll(); !mapped) return std::unexpected(mapped.error());
  // Says now, and not at the first window, if this kernel cannot.
  const auto place = reinterpret_cast<const void*>(&DecoyPlace);
  Result<Fd> tried =
      AttachUprobeToSelf(bpf_program__fd(probes->skeleton_->progs.alloc_nothing), place);
  if (!tried) return std::unexpected(tried.error());
  for (std::thread& closer : probes->probe_closers_) {
    closer = std::thread([self = probes.get()] { self->CloseLinks(self->probes_to_close_); });
  }
  for (std::thread& closer : probes->decoy_closers_) {
    closer = std::thread([self = probes.get()] { self->CloseLinks(self->decoys_to_close_); });
  }
  (void)probes->decoys_to_close_.TryPush(std::move(*tried));
  return probes;
}

Result<void> AllocProbes::MapAll() {
  const Result<hp_alloc_config*> config =
      MapArray<hp_alloc_config>(skeleton_->maps.alloc_configs, 1);
  if (!config) return std::unexpected(config.error());
  config_ = *config;
  const Result<hp_alloc_state*> state = MapArray<hp_alloc_state>(skeleton_->maps.alloc_states, 1);
  if (!state) return std::unexpected(state.error());
  state_ = *state;
  const Result<hp_hit*> hits = MapArray<hp_hit>(skeleton_->maps.hits, HP_ALLOC_MAX_HITS);
  if (!hits) return std::unexpected(hits.error());
  hits_ = *hits;
  const Result<uint32_t*> distances =
      MapArray<uint32_t>(skeleton_->maps.distances, HP_ALLOC_DISTANCES);
  if (!distances) return std::unexpected(distances.error());
  const Result<ByteSampling> sampling = ByteSampling::Every(kSampleBytes);
  if (!sampling) return std::unexpected(sampling.error());
  std::ranges::copy(sampling->Distances(HP_ALLOC_DISTANCES), *distances);
  munmap(*distances, sizeof(uint32_t) * HP_ALLOC_DISTANCES);
  return {};
}

AllocProbes::~AllocProbes() {
  probes_to_close_.Close();
  decoys_to_close_.Close();
  for (std::thread& closer : probe_closers_) {
    if (closer.joinable()) closer.join();
  }
  for (std::thread& closer : decoy_closers_) {
    if (closer.joinable()) closer.join();
  }
  if (config_ != nullptr) munmap(config_, sizeof(*config_));
  if (state_ != nullptr) munmap(state_, sizeof(*state_));
  if (hits_ != nullptr) munmap(hits_, sizeof(*hits_) * HP_ALLOC_MAX_HITS);
  alloc_bpf__destroy(skeleton_);
}

void AllocProbes::CloseLinks(BoundedQueue<Fd>& links) {
  while (!links.closed() || links.size() > 0) {
    (void)links.Pop(std::chrono::seconds(1));  // Closed here, by its owner's end.
  }
}

Result<void> AllocProbes::Watch(uint32_t pid) {
  const uint64_t now = MonotonicNs();
  if (bpf_map_update_elem(bpf_map__fd(skeleton_->maps.watched), &pid, &now, BPF_ANY) == 0)
    return {};
  return Fail(ErrorCode::kBusy, fmt::format("{} processes are watched for allocations already",
                                            HP_ALLOC_MAX_WATCHED));
}

void AllocProbes::Unwatch(uint32_t pid) {
  bpf_map_delete_elem(bpf_map__fd(skeleton_->maps.watched), &pid);
  for (const ThreadTime& thread : ThreadTimes(pid)) {
    bpf_map_delete_elem(bpf_map__fd(skeleton_->maps.threads), &thread.tid);
  }
  watched_ = std::max(0, watched_ - 1);
  if (watched_ == 0) {
    bpf_link__destroy(std::exchange(skeleton_->links.alloc_switch, nullptr));
  }
}

std::vector<AllocProbes::ThreadTime> AllocProbes::ThreadTimes(uint32_t pid) const {
  std::vector<ThreadTime> times;
  const int map_fd = bpf_map__fd(skeleton_->maps.threads);
  uint32_t tid = 0;
  const uint32_t* last = nullptr;
  // Bounded, for threads may come and go under the walk.
  for (int i = 0; i < 2 * HP_ALLOC_MAX_THREADS; i++) {
    if (bpf_map_get_next_key(map_fd, last, &tid) != 0) break;
    last = &tid;
    hp_alloc_thread thread{};
    if (bpf_map_lookup_elem(map_fd, &tid, &thread) != 0 || thread.tgid != pid) continue;
    times.push_back(
        {.tid = tid, .on_cpu_ns = thread.on_cpu_ns, .running_since_ns = thread.on_since_ns});
  }
  return times;
}

Result<void> AllocProbes::Prepare(uint64_t start_ns, std::vector<Fd>& decoys) {
  const int program_fd = bpf_program__fd(skeleton_->progs.alloc_nothing);
  const auto place = reinterpret_cast<const void*>(&DecoyPlace);
  SleepUntil(start_ns - std::min(start_ns, kPrepareNs));
  for (;;) {
    if (*stopped_) return Fail(ErrorCode::kUnavailable, "probes are switched off");
    Result<Fd> decoy = AttachUprobeToSelf(program_fd, place);
    if (!decoy) return std::unexpected(decoy.error());
    decoys.push_back(std::move(*decoy));
    const uint64_t now = MonotonicNs();
    if (now >= start_ns) return {};
    SleepUntil(std::min(start_ns, now + kDecoyEveryNs));
    if (now + kDecoyEveryNs >= start_ns) return {};
  }
}

Result<OpenedWindow> AllocProbes::Open(const AllocTarget& target, const WindowPlan& plan) {
  std::vector<UprobeSite> sites;
  for (const AllocSite& site : target.sites) {
    sites.push_back({.offset = site.offset, .cookie = CookieOf(site)});
  }
  Fd link;
  std::vector<Fd> decoys;
  Result<void> prepared = Prepare(plan.start_ns, decoys);
  if (prepared) {
    *state_ = {};
    config_->tgid = target.pid;
    config_->session = session_;
    config_->max_hits = std::min<uint32_t>(plan.max_hits, HP_ALLOC_MAX_HITS);
    config_->max_walks = plan.max_walks;
    Result<Fd> probes = AttachUprobes(bpf_program__fd(skeleton_->progs.alloc_hit), target.file_fd,
                                      target.pid, sites);
    if (probes) {
      link = std::move(*probes);
    } else {
      prepared = std::unexpected(probes.error());
    }
  }
  OpenedWindow opened;
  if (prepared) {
    opened.window.armed_ns = MonotonicNs() + kSettleNs;
    config_->from_ns = opened.window.armed_ns;
    __atomic_store_n(&config_->armed, 1, __ATOMIC_SEQ_CST);
    opened.late_ns = opened.window.armed_ns - std::min(plan.start_ns, opened.window.armed_ns);
    const uint64_t end_ns = opened.window.armed_ns + plan.length_ns;
    SleepUntil(opened.window.armed_ns);
    while (MonotonicNs() < end_ns && __atomic_load_n(&config_->armed, __ATOMIC_RELAXED) != 0 &&
           !*stopped_) {
      SleepUntil(std::min(end_ns, MonotonicNs() + kSliceNs));
    }
    __atomic_store_n(&config_->armed, 0, __ATOMIC_SEQ_CST);
    opened.window.disarmed_ns = std::max(MonotonicNs(), opened.window.armed_ns);
  }
  if (link) (void)probes_to_close_.TryPush(std::move(link));
  for (Fd& decoy : decoys) (void)decoys_to_close_.TryPush(std::move(decoy));
  if (!prepared) return std::unexpected(prepared.error());
  Collect(opened);
  return opened;
}

// Threads that were on a CPU when the window began: by the last switch before it, or because the
// first thing seen of them in it was a hit or their leaving, or by the kernel side's account.
void AllocProbes::Collect(OpenedWindow& opened) const {
  ProbeWindow& window = opened.window;
  if (state_->capped != 0 && state_->capped_ns > window.armed_ns) {
    window.hit_cap_reached = true;
    window.disarmed_ns = std::min<uint64_t>(window.disarmed_ns, state_->capped_ns);
  }
  opened.lost = state_->lost;
  std::unordered_map<uint32_t, bool> began_on_cpu;
  const auto logged = std::min<uint64_t>(state_->hits, config_->max_hits);
  for (const hp_hit& hit : std::span(hits_, logged)) {
    if (hit.time_ns > window.disarmed_ns) continue;
    window.hits.push_back(
        {.time_ns = hit.time_ns,
         .tid = hit.tid,
         .size_bytes = static_cast<uint32_t>(std::min<uint64_t>(hit.size_bytes, UINT32_MAX)),
         .kind = KindOf(hit.kind)});
  }
  std::ranges::stable_sort(window.hits, {}, &Hit::time_ns);
  const auto first = std::ranges::lower_bound(window.hits, window.armed_ns, {}, &Hit::time_ns);
  for (const Hit& hit : std::span(window.hits.begin(), first)) {
    began_on_cpu[hit.tid] = hit.kind == HitKind::kSwitchIn;
  }
  for (const Hit& hit : std::span(first, window.hits.end())) {
    began_on_cpu.try_emplace(hit.tid, hit.kind != HitKind::kSwitchIn);
  }
  window.hits.erase(window.hits.begin(), first);
  for (const ThreadTime& thread : ThreadTimes(config_->tgid)) {
    const bool running = thread.running_since_ns != 0 && thread.running_since_ns <= window.armed_ns;
    began_on_cpu.try_emplace(thread.tid, running);
  }
  for (const auto& [tid, running] : began_on_cpu) {
    if (running) window.running.push_back({.tid = tid});
  }
}

}  // namespace hotpath
