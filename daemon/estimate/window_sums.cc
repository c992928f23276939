// Hits in time order to gaps by kind.
#include "daemon/estimate/window_sums.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace hotpath {

namespace {

constexpr double kCapFactor = 10;  // Past so many traps a gap is no trap any more.
constexpr uint64_t kCloseTraps = 3;
constexpr size_t kMinGaps = 8;  // For a median.

bool IsCall(HitKind kind) { return kind == HitKind::kFirst || kind == HitKind::kOnly; }
bool IsSecond(HitKind kind) { return kind == HitKind::kSecond || kind == HitKind::kWalked; }

// One pass over a thread's events.
class GapWalk {
 public:
  GapWalk(uint64_t begin_ns, bool running, double trap_ns)
      : trap_ns_(static_cast<uint64_t>(trap_ns)),
        cap_ns_(static_cast<uint64_t>(trap_ns * kCapFactor)) {
    if (running) since_ns_ = begin_ns;
  }

  void Step(const Hit& hit) {
    if (hit.kind == HitKind::kSwitchIn) {
      Leave(hit.time_ns);  // A lost switch-out: what lies between was on CPU as far as we know.
      since_ns_ = hit.time_ns;
      return;
    }
    if (!since_ns_) since_ns_ = hit.time_ns;  // A lost switch-in.
    if (hit.kind == HitKind::kSwitchOut) return Leave(hit.time_ns);
    ++sums_.traps;
    if (IsCall(hit.kind)) {
      ++sums_.calls;
      sums_.size_bytes += hit.size_bytes;
    }
    const uint64_t gap_ns = hit.time_ns - (last_ ? last_->time_ns : *since_ns_);
    if (last_) {
      Between(last_->kind, hit.kind, gap_ns);
    } else if (gap_ns > cap_ns_) {
      sums_.before_ns += gap_ns;
    } else {
      ++sums_.short_befores;
    }
    last_ = hit;
  }

  void Leave(uint64_t time_ns) {
    if (!since_ns_) return;
    sums_.on_cpu_ns += time_ns - *since_ns_;
    if (last_ && last_->kind == HitKind::kWalked) {
      sums_.walked.Add(time_ns - last_->time_ns);
    } else if (last_ && time_ns - last_->time_ns > trap_ns_) {
      sums_.after.Add(time_ns - last_->time_ns);
    }
    since_ns_.reset();
    last_.reset();
  }

  const WindowSums& sums() const { return sums_; }

 private:
  void Between(HitKind before, HitKind now, uint64_t gap_ns) {
    if (before == HitKind::kWalked) {
      sums_.walked.Add(gap_ns);
    } else if (before == HitKind::kFirst && IsSecond(now)) {
      if (gap_ns > cap_ns_) {
        sums_.long_trap.Add(gap_ns);
      } else {
        sums_.trap.Add(gap_ns);
      }
    } else if (before == HitKind::kSecond && now == HitKind::kFirst) {
      GapSum& short_call = gap_ns > kCloseTraps * trap_ns_ ? sums_.call : sums_.close_call;
      (gap_ns > cap_ns_ ? sums_.long_call : short_call).Add(gap_ns);
    } else {
      sums_.other.Add(gap_ns);
    }
  }

  uint64_t trap_ns_;
  uint64_t cap_ns_;
  std::optional<uint64_t> since_ns_;  // On CPU since.
  std::optional<Hit> last_;           // The last hit since then.
  WindowSums sums_;
};

}  // namespace

WindowSums& WindowSums::operator+=(const WindowSums& more) {
  on_cpu_ns += more.on_cpu_ns;
  size_bytes += more.size_bytes;
  calls += more.calls;
  traps += more.traps;
  trap += more.trap;
  long_trap += more.long_trap;
  close_call += more.close_call;
  call += more.call;
  long_call += more.long_call;
  other += more.other;
  walked += more.walked;
  after += more.after;
  before_ns += more.before_ns;
  short_befores += more.short_befores;
  return *this;
}

WindowSums SumGaps(std::span<const Hit> hits, bool running, uint64_t begin_ns, uint64_t end_ns,
                   double trap_ns) {
  GapWalk walk(begin_ns, running || RanAt(hits, begin_ns), trap_ns);
  for (const Hit& hit : hits) {
    if (hit.time_ns >= begin_ns && hit.time_ns <= end_ns) walk.Step(hit);
  }
  walk.Leave(end_ns);
  return walk.sums();
}

bool RanAt(std::span<const Hit> hits, uint64_t begin_ns) {
  const auto first =
      std::ranges::find_if(hits, [&](const Hit& hit) { return hit.time_ns >= begin_ns; });
  return first != hits.end() && first->kind != HitKind::kSwitchIn;
}

double MedianTrap(std::span<const Hit> hits) {
  std::vector<uint64_t> gaps;
  for (size_t i = 1; i < hits.size(); ++i) {
    if (hits[i - 1].kind == HitKind::kFirst && IsSecond(hits[i].kind)) {
      gaps.push_back(hits[i].time_ns - hits[i - 1].time_ns);
    }
  }
  if (gaps.size() < kMinGaps) return 0;
  const auto middle = gaps.begin() + static_cast<ptrdiff_t>(gaps.size() / 2);
  std::ranges::nth_element(gaps, middle);
  return static_cast<double>(*middle);
}

}  // namespace hotpath
