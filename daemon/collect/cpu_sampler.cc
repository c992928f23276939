// Sampling sessions: rates, jitter, restriction to processes.
#include "daemon/collect/cpu_sampler.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/perf_event.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "bpf/abi.h"
#include "cpu.skel.h"

namespace hotpath {
namespace {

static_assert(CpuSampler::kSessions == HP_CPU_SESSIONS);

constexpr int kFastHz = 50;
constexpr std::chrono::milliseconds kFastJitter{200};
constexpr std::chrono::milliseconds kSlowJitter{900};  // As often as the idle reader wakes up.
constexpr std::chrono::seconds kHotplugCheck{1};

}  // namespace

CpuSampler::CpuSampler(KernelSide* kernel) : kernel_(kernel), random_(std::random_device{}()) {}

CpuSampler::~CpuSampler() {
  for (uint32_t session = 0; session < kSessions; session++) Stop(session);
}

uint64_t CpuSampler::DrawPeriod(int hz) {
  const double mean = 1e9 / hz;
  return static_cast<uint64_t>(std::uniform_real_distribution(0.8 * mean, 1.2 * mean)(random_));
}

Result<void> CpuSampler::Start(uint32_t session, int hz, std::span<const uint32_t> pids,
                               bool descendants) {
  const int possible = libbpf_num_possible_cpus();
  if (possible <= 0) return Fail(ErrorCode::kSystem, "count the host's CPUs");
  const std::vector<hp_session_state> zero(static_cast<size_t>(possible));
  bpf_map_update_elem(kernel_->session_states_fd(), &session, zero.data(), BPF_ANY);
  const uint32_t restricted = pids.empty() ? 0 : descendants ? 2 : 1;
  const hp_session_config config{.period_ns = 1'000'000'000ull / static_cast<uint64_t>(hz),
                                 .only_listed_pids = restricted,
                                 .reserved = 0};
  bpf_map_update_elem(kernel_->session_configs_fd(), &session, &config, BPF_ANY);
  for (const uint32_t pid : pids) {
    const hp_session_pid key{.session = session, .pid = pid};
    const uint8_t one = 1;
    if (bpf_map_update_elem(kernel_->session_pids_fd(), &key, &one, BPF_ANY) != 0) {
      Stop(session);
      return Fail(ErrorCode::kTooLarge, "too many processes to restrict a capture to");
    }
  }
  sessions_.at(session).hz = hz;
  sessions_.at(session).config_period_ns = config.period_ns;
  Result<void> opened =
      sessions_.at(session).events.Open(kernel_->skeleton()->progs.cpu_sample, session, [=, this] {
        perf_event_attr attributes{};
        attributes.size = sizeof(attributes);
        attributes.type = PERF_TYPE_SOFTWARE;
        attributes.config = PERF_COUNT_SW_CPU_CLOCK;
        attributes.sample_period = DrawPeriod(sessions_.at(session).hz);
        attributes.disabled = 1;  // Attaching enables it.
        return attributes;
      });
  if (!opened) Stop(session);
  return opened;
}

void CpuSampler::WriteConfigPeriod(uint32_t session, uint64_t period_ns) {
  hp_session_config config{};
  if (bpf_map_lookup_elem(kernel_->session_configs_fd(), &session, &config) != 0) return;
  config.period_ns = period_ns;
  bpf_map_update_elem(kernel_->session_configs_fd(), &session, &config, BPF_ANY);
  sessions_.at(session).config_period_ns = period_ns;
}

void CpuSampler::SetRate(uint32_t session, int hz) {
  Session& state = sessions_.at(session);
  if (!state.events.open() || state.hz == hz || hz <= 0) return;
  // A gap is judged by the longer of the two periods until none of the old ones can be under way:
  // else the last long one before a higher rate would count as missed ticks.
  const uint64_t period_ns = 1'000'000'000ull / static_cast<uint64_t>(hz);
  const uint64_t longer_ns = std::max(state.config_period_ns, period_ns);
  if (longer_ns != state.config_period_ns) WriteConfigPeriod(session, longer_ns);
  state.hz = hz;
  const auto now = std::chrono::steady_clock::now();
  state.config_due = now + 2 * std::chrono::nanoseconds(longer_ns);
  state.next_jitter = now;  // Draws the new periods.
}

void CpuSampler::Stop(uint32_t session) {
  Session& state = sessions_.at(session);
  state.events.Close();
  hp_session_pid key{};
  std::vector<hp_session_pid> stale;
  for (const hp_session_pid* previous = nullptr;
       bpf_map_get_next_key(kernel_->session_pids_fd(), previous, &key) == 0; previous = &key) {
    if (key.session == session) stale.push_back(key);
  }
  for (const hp_session_pid& pid : stale) {
    bpf_map_delete_elem(kernel_->session_pids_fd(), &pid);
  }
}

void CpuSampler::Tick() {
  const auto now = std::chrono::steady_clock::now();
  std::vector<int> online;
  if (now >= next_hotplug_check_) {
    next_hotplug_check_ = now + kHotplugCheck;
    online = OnlineCpus();
  }
  for (uint32_t number = 0; number < kSessions; number++) {
    Session& session = sessions_.at(number);
    if (!session.events.open()) continue;
    if (!online.empty()) session.events.FollowHotplug(online);
    const uint64_t own_ns = 1'000'000'000ull / static_cast<uint64_t>(session.hz);
    if (session.config_period_ns != own_ns && now >= session.config_due) {
      WriteConfigPeriod(number, own_ns);
    }
    if (now < session.next_jitter) continue;
    session.next_jitter = now + kFastJitter;
    if (session.hz < kFastHz) session.next_jitter = now + kSlowJitter;
    session.events.SetPeriods([&] { return DrawPeriod(session.hz); });
  }
}

SessionCounters CpuSampler::Counters(uint32_t session) const {
  return ReadSessionCounters(kernel_->session_states_fd(), session);
}

}  // namespace hotpath
