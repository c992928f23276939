// One capture at a time, of processes whose allocator can be probed.
#include "daemon/alloc_captures.h"

#include <spdlog/spdlog.h>

#include <random>
#include <thread>
#include <utility>

#include "bpf/abi.h"
#include "daemon/allocations/find_target.h"

namespace hotpath {
namespace {

constexpr auto kWindowEnds = std::chrono::milliseconds(10);  // An open one, after it is told to.

MetricFamily Family(MetricFamily::Type type, std::string name, std::string help, double value) {
  return {.name = std::move(name),
          .help = std::move(help),
          .type = type,
          .samples = {{.labels = {}, .value = value}}};
}

}  // namespace

SessionCounters AllocCaptures::Counters() const {
  return ReadSessionCounters(kernel_->session_states_fd(), HP_SESSION_OF(HP_TYPE_ALLOCS));
}

Result<void> AllocCaptures::LoadProbes() {
  if (probes_) return {};
  Result<std::unique_ptr<AllocProbes>> probes = AllocProbes::Load(*kernel_, &stopped_);
  if (!probes) return std::unexpected(probes.error());
  probes_ = std::move(*probes);
  return {};
}

Result<std::unique_ptr<AllocSession>> AllocCaptures::Begin(
    const std::vector<Candidate>& candidates) {
  std::lock_guard lock(mutex_);
  if (!allowed_) {
    return Fail(ErrorCode::kUnavailable,
                "allocation profiling is off: --no-alloc or --alloc-budget 0");
  }
  if (stopped_) {
    return Fail(ErrorCode::kUnavailable,
                "probes are switched off: POST /api/v1/probes/on switches them on");
  }
  if (busy_) {
    return Fail(ErrorCode::kBusy,
                "an allocation profile is under way: try again when it has ended");
  }
  if (candidates.empty()) {
    return Fail(ErrorCode::kNotFound, "no process that uses CPU is wanted: name one by its pid");
  }
  if (Result<void> loaded = LoadProbes(); !loaded) return std::unexpected(loaded.error());
  auto session = std::make_unique<AllocSession>(probes_.get(), std::random_device()());
  std::optional<Error> first_error;
  for (const Candidate& candidate : candidates) {
    Result<FoundTarget> found = FindAllocTarget(finder_, candidate.pid);
    Result<void> added;
    if (found) {
      added = session->Add(std::move(found->target), std::move(found->file), candidate.weight);
    } else {
      added = std::unexpected(found.error());
    }
    if (added) continue;
    refused_++;
    spdlog::debug("allocations of {}: {}", candidate.pid, added.error().message);
    if (!first_error) first_error = added.error();
  }
  worker_.EndIdleChildren();
  if (session->empty()) return std::unexpected(*first_error);
  busy_ = true;
  return session;
}

void AllocCaptures::End(const WindowTotals& totals, double trap_ns) {
  std::lock_guard lock(mutex_);
  busy_ = false;
  totals_ += totals;
  if (trap_ns > 0) trap_ns_ = trap_ns;
}

void AllocCaptures::SetEnabled(bool enabled) {
  stopped_ = !enabled;
  if (!enabled) std::this_thread::sleep_for(kWindowEnds);
}

std::vector<MetricFamily> AllocCaptures::Metrics() const {
  using enum MetricFamily::Type;
  std::lock_guard lock(mutex_);
  std::vector<MetricFamily> families;
  families.push_back(Family(kCounter, "hotpathd_alloc_windows_total",
                            "Windows in which allocators were probed.",
                            static_cast<double>(totals_.opened)));
  families.push_back(Family(kCounter, "hotpathd_alloc_armed_seconds_total",
                            "How long those windows were open.",
                            static_cast<double>(totals_.armed_ns) / 1e9));
  families.push_back(Family(kCounter, "hotpathd_alloc_hits_total",
                            "Allocating calls that they saw.", static_cast<double>(totals_.hits)));
  families.push_back(Family(kCounter, "hotpathd_alloc_windows_capped_total",
                            "Windows that the limit of hits ended.",
                            static_cast<double>(totals_.capped)));
  families.push_back(Family(kCounter, "hotpathd_alloc_stacks_lost_total",
                            "Sampled allocations whose stack was not taken.",
                            static_cast<double>(totals_.stacks_lost)));
  families.push_back(Family(kCounter, "hotpathd_alloc_refused_total",
                            "Processes whose allocator could not be probed.",
                            static_cast<double>(refused_)));
  families.push_back(Family(kGauge, "hotpathd_alloc_trap_seconds",
                            "What one hit of a probe cost, as last measured; 0 before the first.",
                            trap_ns_ / 1e9));
  families.push_back(Family(kGauge, "hotpathd_alloc_enabled",
                            "1 while probes may be placed, 0 when they are switched off.",
                            allowed_ && !stopped_ ? 1 : 0));
  return families;
}

}  // namespace hotpath
