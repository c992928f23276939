// Windows of one process, and what they add up to.
#include "daemon/allocations/process_windows.h"

#include <time.h>

#include <algorithm>
#include <utility>

namespace hotpath {
namespace {

// A trap until windows have measured it. On this decade's machines 0.3 us, in a virtual one 1 us.
constexpr double kTrapNs = 500;

// Long enough to see some calls, short against what a program does in phases (dilation.md 3).
constexpr uint64_t kShortNs = 500'000;
constexpr uint64_t kMiddleNs = 1'000'000;
constexpr uint64_t kLongNs = 5'000'000;
constexpr double kFewCalls = 20'000;  // A second of armed time.
constexpr double kSomeCalls = 200'000;
constexpr uint64_t kFirstWindows = 8;  // Of middle length, until the rate is known.

uint64_t MonotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

WindowTotals& WindowTotals::operator+=(const WindowTotals& other) {
  opened += other.opened;
  armed_ns += other.armed_ns;
  hits += other.hits;
  late_ns_max = std::max(late_ns_max, other.late_ns_max);
  stacks_lost += other.stacks_lost;
  capped += other.capped;
  return *this;
}

ProcessWindows::ProcessWindows(AllocProbes* probes, AllocTarget target)
    : probes_(probes), target_(std::move(target)), estimator_(kTrapNs), begin_ns_(MonotonicNs()) {}

ProcessWindows::ProcessWindows(ProcessWindows&& other) noexcept
    : probes_(std::exchange(other.probes_, nullptr)),
      target_(std::move(other.target_)),
      estimator_(std::move(other.estimator_)),
      begin_ns_(other.begin_ns_),
      wall_ns_(other.wall_ns_),
      totals_(other.totals_),
      windows_(std::move(other.windows_)),
      hit_threads_(std::move(other.hit_threads_)) {}

ProcessWindows::~ProcessWindows() {
  if (probes_ != nullptr) probes_->Unwatch(target_.pid);
}

Result<ProcessWindows> ProcessWindows::Begin(AllocProbes* probes, AllocTarget target) {
  if (Result<void> watched = probes->Watch(target.pid); !watched) {
    return std::unexpected(watched.error());
  }
  return ProcessWindows(probes, std::move(target));
}

uint64_t ProcessWindows::LengthNs() const {
  if (totals_.opened < kFirstWindows) return kMiddleNs;
  const double calls_per_s =
      static_cast<double>(totals_.hits) * 1e9 / static_cast<double>(totals_.armed_ns);
  if (calls_per_s < kFewCalls) return kLongNs;
  return calls_per_s < kSomeCalls ? kMiddleNs : kShortNs;
}

Result<void> ProcessWindows::Open(uint64_t start_ns) {
  WindowPlan plan;
  plan.start_ns = start_ns;
  plan.length_ns = LengthNs();
  const Result<OpenedWindow> opened = probes_->Open(target_, plan);
  if (!opened) return std::unexpected(opened.error());
  const ProbeWindow& window = opened->window;
  const uint64_t index = estimator_.Add(window);
  windows_[window.armed_ns] = {window.disarmed_ns, index};
  for (const Hit& hit : window.hits) {
    hit_threads_.insert(hit.tid);
    totals_.hits += hit.kind == HitKind::kFirst || hit.kind == HitKind::kOnly ? 1 : 0;
  }
  totals_.opened++;
  totals_.armed_ns += window.disarmed_ns - window.armed_ns;
  totals_.late_ns_max = std::max(totals_.late_ns_max, opened->late_ns);
  totals_.stacks_lost += opened->lost;
  totals_.capped += window.hit_cap_reached ? 1 : 0;
  return {};
}

Estimate ProcessWindows::Finish() {
  const uint64_t now = MonotonicNs();
  wall_ns_ = now - begin_ns_;
  std::vector<ThreadExposure> exposures;
  std::set<uint32_t> silent = hit_threads_;
  for (const AllocProbes::ThreadTime& thread : probes_->ThreadTimes(target_.pid)) {
    uint64_t on_cpu_ns = thread.on_cpu_ns;
    if (thread.running_since_ns != 0 && thread.running_since_ns < now) {
      on_cpu_ns += now - thread.running_since_ns;
    }
    exposures.push_back({.tid = thread.tid, .on_cpu_ns = std::min(on_cpu_ns, wall_ns_)});
    silent.erase(thread.tid);
  }
  // It was seen to allocate and never to leave its CPU: it had it all the time.
  for (const uint32_t tid : silent) exposures.push_back({.tid = tid, .on_cpu_ns = wall_ns_});
  return estimator_.Result(wall_ns_, exposures);
}

double ProcessWindows::Weight(uint32_t tid, uint64_t time_ns) const {
  auto window = windows_.upper_bound(time_ns);
  if (window == windows_.begin()) return 0;
  --window;
  const auto& [disarmed_ns, index] = window->second;
  if (time_ns > disarmed_ns) return 0;
  return estimator_.WindowWeight(index, tid, time_ns - window->first);
}

}  // namespace hotpath
