// The fault events: opening, rate, hot-plug.
#include "daemon/collect/fault_sampler.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>

#include "bpf/abi.h"
#include "cpu.skel.h"

namespace hotpath {
namespace {

static_assert(FaultSampler::kSession == HP_SESSION_OF(HP_TYPE_MEMORY_GROWTH));

constexpr uint64_t kFaultsPerTick = 251;  // A prime: see bpf/fault.bpf.c.
constexpr std::chrono::seconds kTick{1};

}  // namespace

Result<void> FaultSampler::Start() {
  if (events_.open()) return {};
  SetRate(share_);
  return events_.Open(kernel_->skeleton()->progs.fault_sample, kSession, [] {
    perf_event_attr attributes{};
    attributes.size = sizeof(attributes);
    attributes.type = PERF_TYPE_SOFTWARE;
    attributes.config = PERF_COUNT_SW_PAGE_FAULTS;
    attributes.sample_period = kFaultsPerTick;
    attributes.disabled = 1;  // Attaching enables it.
    return attributes;
  });
}

void FaultSampler::Stop() { events_.Close(); }

void FaultSampler::SetRate(double share) {
  share_ = share;
  const double hz = std::max(1.0, kHz * share);
  const hp_session_config config{
      .period_ns = static_cast<uint64_t>(1e9 / hz), .only_listed_pids = 0, .reserved = 0};
  const uint32_t session = kSession;
  bpf_map_update_elem(kernel_->session_configs_fd(), &session, &config, BPF_ANY);
}

void FaultSampler::Tick(double share) {
  const auto now = std::chrono::steady_clock::now();
  if (!events_.open() || now < next_tick_) return;
  next_tick_ = now + kTick;
  if (share != share_) SetRate(share);
  events_.FollowHotplug(OnlineCpus());
}

SessionCounters FaultSampler::Counters() const {
  return ReadSessionCounters(kernel_->session_states_fd(), kSession);
}

}  // namespace hotpath
