// Windows into sums, sums into threads, threads into the process.
#include "daemon/estimate/rate_estimator.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "daemon/estimate/process_total.h"

namespace hotpath {

namespace {

constexpr uint64_t kMinWindows = 8;
constexpr double kAloneWindows = 16;     // Expected, for a thread to be estimated by itself.
constexpr double kMedianMemory = 0.8;    // Of the running median of c, a window.
constexpr double kPresenceSigmas = 2.6;  // 99 %: armed with the thread on CPU as often as it runs?
constexpr double kMaxAmiss = 0.2;        // More windows than that amiss: drawn by what it does.
constexpr double kAmissFactor = 2;       // What they would have shown, by what the others did.

// Where recording ended.
uint64_t EndOf(const ProbeWindow& window) {
  if (!window.hit_cap_reached || window.hits.empty()) return window.disarmed_ns;
  const auto last = std::ranges::max_element(window.hits, {}, &Hit::time_ns);
  return std::clamp(last->time_ns, window.armed_ns, window.disarmed_ns);
}

}  // namespace

uint64_t RateEstimator::Add(const ProbeWindow& window) {
  const uint64_t index = first_window_ + windows_.size();
  const uint64_t end_ns = std::max(EndOf(window), window.armed_ns);
  windows_.push_back({.armed_ns = end_ns - window.armed_ns,
                      .first_sums = first_sums_ + sums_.size(),
                      .sums = 0,
                      .calls = false});
  std::vector<Hit> hits = window.hits;
  std::ranges::stable_sort(hits, [](const Hit& a, const Hit& b) {
    return a.tid != b.tid ? a.tid < b.tid : a.time_ns < b.time_ns;
  });
  std::unordered_set<uint32_t> silent;
  for (const RunningThread& thread : window.running) silent.insert(thread.tid);
  const std::unordered_set<uint32_t> running = silent;
  for (size_t begin = 0; begin < hits.size();) {
    size_t end = begin;
    while (end < hits.size() && hits[end].tid == hits[begin].tid) ++end;
    const uint32_t tid = hits[begin].tid;
    silent.erase(tid);
    AddThread(window.armed_ns, end_ns, running.contains(tid), tid,
              std::span(hits).subspan(begin, end - begin));
    begin = end;
  }
  for (const uint32_t tid : silent) AddThread(window.armed_ns, end_ns, true, tid, {});
  MarkShared();
  while (windows_.size() > kMaxWindows || (sums_.size() > kMaxSums && windows_.size() > 1)) {
    Forget();
  }
  return index;
}

void RateEstimator::AddThread(uint64_t begin_ns, uint64_t end_ns, bool running, uint32_t tid,
                              std::span<const Hit> hits) {
  WindowRecord& record = windows_.back();
  if (record.sums == kMaxThreads) {
    ++threads_dropped_;
    return;
  }
  const double median_ns = MedianTrap(hits);
  if (median_ns > 0) {
    median_trap_ns_ = median_trap_ns_ > 0
                          ? kMedianMemory * median_trap_ns_ + (1 - kMedianMemory) * median_ns
                          : median_ns;
  }
  const double known_ns = median_trap_ns_ > 0 ? median_trap_ns_ : calibrated_trap_ns_;
  const double trap_ns = median_ns > 0 ? median_ns : known_ns;
  ThreadRecord sums;
  sums.tid = tid;
  sums.window.running = running || RanAt(hits, begin_ns);
  sums.window.whole = SumGaps(hits, running, begin_ns, end_ns, trap_ns);
  const uint64_t start_ns = std::min(end_ns, begin_ns + kStart_ns);
  sums.window.start = SumGaps(hits, running, begin_ns, start_ns, trap_ns);
  record.calls = record.calls || sums.window.whole.calls > 0;
  ++record.sums;
  sums_.push_back(sums);
}

// Did two threads trap in this, the last window?
void RateEstimator::MarkShared() {
  const auto begin = sums_.end() - static_cast<ptrdiff_t>(windows_.back().sums);
  const auto trapping = std::count_if(
      begin, sums_.end(), [](const ThreadRecord& record) { return record.window.whole.calls > 0; });
  for (auto record = begin; record != sums_.end(); ++record) {
    record->window.shared = trapping > 1;
  }
}

void RateEstimator::Forget() {
  sums_.erase(sums_.begin(), sums_.begin() + static_cast<ptrdiff_t>(windows_.front().sums));
  first_sums_ += windows_.front().sums;
  windows_.pop_front();
  ++first_window_;
}

std::pair<std::vector<RateEstimator::Group>, RateEstimator::Group> RateEstimator::Groups(
    double wall_ns, const Exposures& on_cpu) const {
  std::unordered_map<uint32_t, Group> by_thread;
  for (const auto& [tid, on_cpu_ns] : on_cpu) {
    const double share = std::min(1.0, on_cpu_ns / wall_ns);
    const double expected = share * static_cast<double>(windows_.size());
    by_thread[tid] = {.records = {},
                      .on_cpu_ns = on_cpu_ns,
                      .expected = expected,
                      .variance = expected * (1 - share),
                      .found = 0};
  }
  for (size_t i = 0; i < sums_.size(); ++i) {
    const auto group = by_thread.find(sums_[i].tid);
    if (group == by_thread.end()) continue;
    group->second.records.push_back(i);
    group->second.found += sums_[i].window.running;
  }
  std::vector<Group> alone;
  Group rest;
  for (auto& [tid, group] : by_thread) {
    if (group.expected >= kAloneWindows) {
      alone.push_back(std::move(group));
      continue;
    }
    rest.records.insert(rest.records.end(), group.records.begin(), group.records.end());
    rest.on_cpu_ns += group.on_cpu_ns;
    rest.expected += group.expected;
    rest.variance += group.variance;
    rest.found += group.found;
  }
  return {std::move(alone), std::move(rest)};
}

// Estimates a group, decides the weights of its hits, and adds it to the process.
void RateEstimator::Weigh(const Group& group, bool mixed, const TrapCost& pool,
                          ProcessTotal& total) {
  const double on_cpu_ns = group.on_cpu_ns;
  // One window more or less is chance even where the variance says zero. A few more are what a busy
  // machine does: the thread that opens windows takes a CPU from somebody. They may hide some of
  // what the thread does, so the interval widens by them.
  const double surprise = std::abs(static_cast<double>(group.found) - group.expected);
  const double chance = kPresenceSigmas * std::sqrt(group.variance) + 1;
  const double amiss = group.expected > 0 ? std::max(0.0, surprise - chance) / group.expected : 0;
  const bool absent = amiss > kMaxAmiss;
  const bool known = group.found >= kMinWindows && !absent;
  total.AddTime(on_cpu_ns, known, absent);
  if (group.records.empty()) return;
  std::vector<ThreadWindow> windows;
  windows.reserve(group.records.size());
  for (const size_t i : group.records) windows.push_back(sums_[i].window);
  ThreadRate rate = EstimateThread(windows, pool, mixed);
  for (ErrorParts* parts : {&rate.calls, &rate.bytes}) {
    parts->below += amiss * parts->value;
    parts->above += amiss * kAmissFactor * parts->value;
  }
  for (size_t k = 0; k < windows.size(); ++k) {
    sums_[group.records[k]].weight = rate.weights[k] * on_cpu_ns;
    sums_[group.records[k]].start_only = rate.start_only;
  }
  total.AddRate(rate, on_cpu_ns, known);
}

Estimate RateEstimator::Result(uint64_t wall_ns, const std::vector<ThreadExposure>& exposures) {
  Estimate estimate;
  estimate.windows = windows_.size();
  uint64_t with_calls = 0;
  for (const WindowRecord& window : windows_) {
    estimate.armed_ns += window.armed_ns;
    with_calls += window.calls;
  }
  WindowSums all;
  for (ThreadRecord& record : sums_) {
    all += record.window.whole;
    record.weight = 0;
  }
  const double known_ns = median_trap_ns_ > 0 ? median_trap_ns_ : calibrated_trap_ns_;
  const TrapCost pool = MeasureTrap(all, {.ns = known_ns, .interrupt_ratio = 0, .pairs = 0});
  estimate.hits = all.calls;
  estimate.trap_ns = pool.ns;
  if (wall_ns == 0) {
    estimate.reason = "no time has passed";
    return estimate;
  }
  estimate.duty_ratio = static_cast<double>(estimate.armed_ns) / static_cast<double>(wall_ns);
  Exposures on_cpu;
  // As if the windows had passed at native speed too.
  const uint64_t outside_ns = wall_ns - std::min(wall_ns - 1, estimate.armed_ns);
  const double stretch = static_cast<double>(wall_ns) / static_cast<double>(outside_ns);
  for (const ThreadExposure& thread : exposures) {
    on_cpu[thread.tid] += stretch * static_cast<double>(thread.on_cpu_ns);
  }
  ProcessTotal total;
  const auto [alone, rest] = Groups(static_cast<double>(wall_ns), on_cpu);
  for (const Group& group : alone) Weigh(group, false, pool, total);
  Weigh(rest, true, pool, total);
  total.Conclude(with_calls, wall_ns, estimate);
  return estimate;
}

double RateEstimator::WindowWeight(uint64_t window, uint32_t tid, uint64_t since_armed_ns) const {
  if (window < first_window_ || window - first_window_ >= windows_.size()) return 0;
  const WindowRecord& record = windows_[window - first_window_];
  const auto begin = sums_.begin() + static_cast<ptrdiff_t>(record.first_sums - first_sums_);
  const auto end = begin + static_cast<ptrdiff_t>(record.sums);
  const auto found = std::find_if(begin, end, [&](const ThreadRecord& r) { return r.tid == tid; });
  if (found == end || (found->start_only && since_armed_ns > kStart_ns)) return 0;
  return found->weight;
}

}  // namespace hotpath
