// What we use against what we may use: each second, by the governors' decisions.
#include <malloc.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "daemon/govern/own_use.h"
#include "daemon/pipeline.h"

namespace hotpath {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Family = MetricFamily;

constexpr auto kGovernEvery = 1s;
// Naming and compressing a capture belongs to the request, too.
constexpr auto kAfterCapture = 2s;
// Where kernel.bpf_stats_enabled is 0, what a sample and an idle tick cost in the kernel: the mean
// of a busy mix of programs, generously (tests/bench/README.md).
constexpr double kSampleCost_s = 15e-6;
constexpr double kIdleTickCost_s = 0.5e-6;
constexpr int kPausesPerFile = 10;  // A file that took 20 ms is followed by 200 ms of rest...
constexpr auto kLongestPause = 2s;  // ...but by no more than this.

Family One(Family::Type type, std::string name, std::string help, double value) {
  return {.name = std::move(name),
          .help = std::move(help),
          .type = type,
          .samples = {{.labels = {}, .value = value}}};
}

}  // namespace

double Pipeline::UsedCpu() {
  double kernel_s = 0;
  if (const KernelSide::RunTime time = kernel_->program_run_time(); time.runs > 0) {
    kernel_s = static_cast<double>(time.run_time_ns) / 1e9;
  } else {
    const SessionCounters cpu = TotalCounters(TypeId::kCpu);
    const int hz = std::max(1, sessions_[0].hz);
    kernel_s = static_cast<double>(cpu.sent.samples) * kSampleCost_s +
               static_cast<double>(cpu.idle_ns) / 1e9 * hz * kIdleTickCost_s;
    for (size_t type = 1; type < kTypes; type++) {
      kernel_s += static_cast<double>(TotalCounters(static_cast<TypeId>(type)).sent.samples) *
                  kSampleCost_s;
    }
  }
  // An estimate changes with the rate, and may be followed by a measurement: it may go back.
  double used_s = std::max(0.0, kernel_s - kernel_cpu_s_);
  kernel_cpu_s_ = kernel_s;
  // A child that ends is for a moment neither alive nor reaped.
  const double process_s = OwnCpuSeconds() + static_cast<double>(worker_->LiveCpuNs()) / 1e9;
  used_s += std::max(0.0, process_s - process_cpu_s_);
  process_cpu_s_ = std::max(process_cpu_s_, process_s);
  return used_s;
}

void Pipeline::Govern() {
  const auto now = Clock::now();
  if (now - governed_at_ < kGovernEvery) return;
  const uint64_t resident = ResidentBytes();
  MemoryPlan plan;
  {
    const std::lock_guard lock(mutex_);
    const bool first = governed_at_ == Clock::time_point();
    const std::chrono::duration<double> passed = now - governed_at_;
    governed_at_ = now;
    if (!captures_.empty()) capture_seen_at_ = now;
    if (first) {
      (void)UsedCpu();
    } else {
      GovernCpu(passed.count());
    }
    plan = GovernMemory(resident);
  }
  // Without the lock: captures need not wait for what takes milliseconds.
  tables_->SetCap(plan.table_cap_bytes);
  if (plan.drop_caches) {
    symbolizer_->Clear();
    perf_maps_->Clear();
    malloc_trim(0);
  }
}

double Pipeline::BudgetShare() const {
  if (settings_.always_on_hz <= 0 || sessions_[0].hz <= 0) return 1;
  return static_cast<double>(sessions_[0].hz) / settings_.always_on_hz;
}

void Pipeline::GovernCpu(double seconds) {
  const double used_s = UsedCpu();
  if (governed_at_ - capture_seen_at_ < kAfterCapture) {
    requested_cpu_s_ += used_s;  // Somebody asked for it.
    slow_files_ = false;
    return;
  }
  const CpuPlan plan = cpu_governor_.Step(seconds, used_s);
  slow_files_ = plan.slow_files;
  Session& always_on = sessions_[0];
  if (always_on.users != 1 || plan.hz == always_on.hz || plan.hz <= 0) return;
  if (plan.hz < always_on.hz && !said_cpu_) {
    said_cpu_ = true;
    spdlog::warn(
        "own CPU use of {:.2f} % is over the budget of {:.4g} % of a CPU: sampling at {} Hz, not "
        "{}, and reading files more slowly until there is room; see hotpathd_always_on_hz (said "
        "once)",
        100 * cpu_governor_.used_ratio(), 100 * settings_.cpu_budget_ratio, plan.hz, always_on.hz);
  }
  spdlog::debug("always-on rate {} -> {} Hz", always_on.hz, plan.hz);
  sampler_->SetRate(0, plan.hz);
  always_on.hz = plan.hz;
}

MemoryPlan Pipeline::GovernMemory(uint64_t resident) {
  // libbpf maps the ring's data twice over; it is among the maps.
  const MemoryUse use{.resident_bytes = resident - std::min(resident, 2 * kernel_->ring_bytes()),
                      .map_bytes = kernel_->map_bytes(),
                      .table_bytes = tables_->bytes()};
  memory_bytes_ = use.total();
  const MemoryPlan plan = memory_governor_.Step(use);
  if (plan.drop_caches && !std::exchange(said_memory_, true)) {
    spdlog::warn(
        "{} MiB in use ({} resident, {} in BPF maps) are over the memory limit of {} MiB: giving "
        "up caches, then unwind tables, then captures; hotpathd_memory_shed_total counts (said "
        "once)",
        use.total() >> 20, use.resident_bytes >> 20, (use.map_bytes + use.table_bytes) >> 20,
        settings_.memory_limit_bytes >> 20);
  }
  if (plan.refuse_captures != refuse_captures_) {
    refuse_captures_ = plan.refuse_captures;
    for (OpenCapture* capture : captures_) capture->SetKnownStacksOnly(refuse_captures_);
  }
  return plan;
}

void Pipeline::PauseBetweenFiles(Clock::duration file_took) {
  const auto begin = Clock::now();
  const auto end = begin + std::min<Clock::duration>(kPausesPerFile * file_took, kLongestPause);
  while (slow_files_ && !stopping_ && Clock::now() < end) std::this_thread::sleep_for(20ms);
  paused_ms_ += static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count());
}

std::vector<Family> Pipeline::GovernMetrics() const {
  using enum Family::Type;
  std::lock_guard lock(mutex_);
  std::vector<Family> families;
  families.push_back(One(kGauge, "hotpathd_always_on_hz",
                         "Rate of the always-on sampling now, of each CPU.", sessions_[0].hz));
  families.push_back(One(kGauge, "hotpathd_cpu_budget_ratio",
                         "What --cpu-budget allows, of one CPU.", settings_.cpu_budget_ratio));
  families.push_back(One(kGauge, "hotpathd_cpu_used_ratio",
                         "Own CPU use of the last half minute without captures, of one CPU: "
                         "threads, children, programs in the kernel.",
                         cpu_governor_.used_ratio()));
  families.push_back(One(kCounter, "hotpathd_cpu_budget_rate_halvings_total",
                         "Times that the always-on rate was halved for the CPU budget.",
                         static_cast<double>(cpu_governor_.lowered())));
  families.push_back(One(kCounter, "hotpathd_requested_cpu_seconds_total",
                         "Own CPU time while captures were under way, which the budget leaves out.",
                         requested_cpu_s_));
  families.push_back(One(kCounter, "hotpathd_file_pause_seconds_total",
                         "Pauses between files for the CPU budget.",
                         static_cast<double>(paused_ms_) / 1e3));
  families.push_back(One(kGauge, "hotpathd_memory_limit_bytes", "What --memory-limit allows.",
                         static_cast<double>(settings_.memory_limit_bytes)));
  families.push_back(One(kGauge, "hotpathd_memory_used_bytes",
                         "What the limit counts: resident memory of the daemon and its BPF maps.",
                         static_cast<double>(memory_bytes_)));
  Family shed = One(kCounter, "hotpathd_memory_shed_total",
                    "Times that something was given up for the memory limit, by what.", 0);
  shed.samples = {
      {.labels = {{"what", "caches"}},
       .value = static_cast<double>(memory_governor_.caches_dropped())},
      {.labels = {{"what", "unwind tables"}},
       .value = static_cast<double>(memory_governor_.tables_cut())},
      {.labels = {{"what", "captures"}}, .value = static_cast<double>(refused_captures_)}};
  families.push_back(std::move(shed));
  return families;
}

}  // namespace hotpath
