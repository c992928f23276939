// Windows in turn, then the weights of what they sampled.
#include "daemon/allocations/alloc_session.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace hotpath {
namespace {

constexpr uint64_t kPrepareNs = 16'000'000;  // Before a window: AllocProbes::Open's preparations.

uint64_t MonotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// What is published of a rate: nothing, its lower end, or itself.
double Published(const Estimate& estimate, const Rate& rate) {
  switch (estimate.verdict) {
    case Verdict::kRate:
      return rate.value;
    case Verdict::kAtLeast:
      return rate.lower;
    case Verdict::kNone:
      break;
  }
  return 0;
}

int64_t Rounded(double value) { return static_cast<int64_t>(std::llround(value)); }

}  // namespace

Result<void> AllocSession::Add(AllocTarget target, Fd file, double weight) {
  target.file_fd = file.get();
  Result<ProcessWindows> windows = ProcessWindows::Begin(probes_, std::move(target));
  if (!windows) return std::unexpected(windows.error());
  processes_.push_back(Process{
      .file = std::move(file), .windows = std::move(*windows), .weight = weight, .error = {}});
  return {};
}

AllocSession::Process* AllocSession::Draw() {
  double sum = 0;
  for (const Process& process : processes_) sum += process.ended ? 0 : process.weight;
  if (sum <= 0) return nullptr;
  double at = std::uniform_real_distribution<double>(0, sum)(random_);
  Process* last = nullptr;
  for (Process& process : processes_) {
    if (process.ended) continue;
    last = &process;
    at -= process.weight;
    if (at < 0) break;
  }
  return last;
}

void AllocSession::Run(std::chrono::nanoseconds mean_gap,
                       const std::function<bool(uint64_t now_ns)>& stop) {
  constexpr uint64_t kAskEveryNs = 50'000'000;
  WindowSchedule schedule(MonotonicNs(), static_cast<uint64_t>(mean_gap.count()), seed_);
  for (;;) {
    const uint64_t next_ns = schedule.Next(MonotonicNs(), kPrepareNs);
    for (uint64_t now = MonotonicNs(); now + kPrepareNs < next_ns; now = MonotonicNs()) {
      if (stop(now)) return;
      const uint64_t wait_ns = std::min(next_ns - kPrepareNs - now, kAskEveryNs);
      const timespec wait{.tv_sec = 0, .tv_nsec = static_cast<long>(wait_ns)};
      nanosleep(&wait, nullptr);
    }
    if (stop(next_ns)) return;
    Process* process = Draw();
    if (process == nullptr) continue;  // All have ended: wait for the end.
    if (Result<void> opened = process->windows.Open(next_ns); !opened) {
      process->ended = opened.error().code != ErrorCode::kUnavailable;
      process->error = opened.error().message;
    }
  }
}

void AllocSession::Weigh(const std::vector<UnweighedSample>& sampled, Window& window) {
  const ByteSampling sampling = *ByteSampling::Every(AllocProbes::kSampleBytes);
  std::vector<std::pair<const Process*, Estimate>> results;
  std::vector<Sums> rows(window.rows.size());
  Sums lost;
  for (Process& process : processes_) {
    const Estimate estimate = process.windows.Finish();
    const double wall_s = static_cast<double>(process.windows.wall_ns()) / 1e9;
    const WindowTotals& totals = process.windows.totals();
    results.emplace_back(&process, estimate);
    Sums seen;
    uint64_t stacks = 0;
    std::vector<std::pair<uint32_t, Sums>> parts;
    for (const UnweighedSample& one : sampled) {
      if (one.pid != process.windows.pid() || one.row >= rows.size()) continue;
      const double calls = process.windows.Weight(one.tid, one.time_ns);
      const Sums part{.objects = calls * sampling.Objects(one.bytes),
                      .bytes = calls * sampling.Bytes(one.bytes)};
      parts.emplace_back(one.row, part);
      seen.objects += part.objects;
      seen.bytes += part.bytes;
      stacks++;
    }
    // The hits know the totals better than the samples among them.
    const Sums total{.objects = Published(estimate, estimate.calls_per_s) * wall_s,
                     .bytes = Published(estimate, estimate.bytes_per_s) * wall_s};
    const double kept = stacks == 0 ? 0
                                    : static_cast<double>(stacks) /
                                          static_cast<double>(stacks + totals.stacks_lost);
    const double objects_scale = seen.objects > 0 ? total.objects * kept / seen.objects : 0;
    const double bytes_scale = seen.bytes > 0 ? total.bytes * kept / seen.bytes : 0;
    for (const auto& [row, part] : parts) {
      rows.at(row).objects += part.objects * objects_scale;
      rows.at(row).bytes += part.bytes * bytes_scale;
    }
    lost.objects += total.objects * (seen.objects > 0 ? 1 - kept : 1);
    lost.bytes += total.bytes * (seen.bytes > 0 ? 1 - kept : 1);
    totals_ += totals;
    if (estimate.trap_ns > 0) trap_ns_ = estimate.trap_ns;
  }
  for (size_t i = 0; i < rows.size(); i++) {
    window.rows[i].values = {Rounded(rows[i].objects), Rounded(rows[i].bytes)};
  }
  window.lost = {};
  window.lost.at(static_cast<size_t>(Loss::kBusy)) = {.samples = totals_.stacks_lost,
                                                      .value = static_cast<uint64_t>(lost.objects),
                                                      .bytes = static_cast<uint64_t>(lost.bytes)};
  AddComments(results, window);
}

void AllocSession::AddComments(const std::vector<std::pair<const Process*, Estimate>>& results,
                               Window& window) const {
  double armed_s = 0, wall_s = 0, dilation = 0, value = 0, below = 0, above = 0;
  uint64_t windows = 0, hits = 0;
  bool bounded = true;
  for (const auto& [process, estimate] : results) {
    const double seconds = static_cast<double>(process->windows.wall_ns()) / 1e9;
    armed_s += static_cast<double>(estimate.armed_ns) / 1e9;
    wall_s = std::max(wall_s, seconds);
    windows += estimate.windows;
    hits += estimate.hits;
    if (!process->error.empty()) {
      window.comments.push_back(
          fmt::format("pid={} ended: {}", process->windows.pid(), process->error));
    }
    if (!estimate.reason.empty()) {
      window.comments.push_back(fmt::format(
          "pid={} {}: {}", process->windows.pid(),
          estimate.verdict == Verdict::kNone ? "no estimate" : "at least", estimate.reason));
    }
    if (estimate.verdict == Verdict::kNone) continue;
    dilation = std::max(dilation, estimate.dilation_ratio);
    const double middle = Published(estimate, estimate.bytes_per_s) * seconds;
    value += middle;
    // Independent of each other: their squares add up.
    below += std::pow(middle - estimate.bytes_per_s.lower * seconds, 2);
    if (estimate.bytes_per_s.upper) {
      above += std::pow(*estimate.bytes_per_s.upper * seconds - middle, 2);
    } else {
      bounded = false;
    }
  }
  const std::string upper = bounded ? fmt::format("{:.0f}", value + std::sqrt(above)) : "inf";
  window.comments.push_back(fmt::format(
      "duty={:.5f} windows={} hits={} trap_ns={:.0f} dilation={:.3f} interval95={:.0f},{}",
      wall_s > 0 ? armed_s / wall_s : 0, windows, hits, trap_ns_, dilation,
      std::max(0.0, value - std::sqrt(below)), upper));
}

}  // namespace hotpath
