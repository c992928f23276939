// Sampling sessions on the CPU clock: one perf event a CPU and session.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/collect/cpu_events.h"
#include "daemon/collect/kernel_side.h"
#include "daemon/collect/session_counters.h"

namespace hotpath {

// Opens, jitters and closes the perf events. Not thread-safe: Pipeline holds its lock.
//
// The period of each event is drawn anew from [0.8, 1.2] times its mean again and again, so that it
// locks to no program's own period: at a fixed 499 Hz, a program with a cycle of 2 ms showed 0.1 %
// where 9 % was true. A sample's weight is measured (bpf/weight.bpf.h), so neither the jitter nor a
// late interrupt biases totals.
class CpuSampler {
 public:
  static constexpr uint32_t kSessions = 5;

  explicit CpuSampler(KernelSide* kernel);
  ~CpuSampler();

  // Starts session `session` at `hz` on every online CPU, restricted to `pids` (and, if
  // `descendants`, the processes they start) unless empty.
  // Errors: kPermission (perf_event_paranoid, CAP_PERFMON), kSystem.
  Result<void> Start(uint32_t session, int hz, std::span<const uint32_t> pids, bool descendants);
  // Another rate for a session that runs. Each event follows when its present period is over.
  void SetRate(uint32_t session, int hz);
  void Stop(uint32_t session);
  bool running(uint32_t session) const { return sessions_.at(session).events.open(); }

  // Draws new periods where it is time: each 200 ms at 50 Hz and more, each second below. Each
  // second it looks for CPUs that came online or went, or both in between. Call it as often as you
  // like.
  void Tick();
  SessionCounters Counters(uint32_t session) const;

 private:
  struct Session {
    int hz = 0;
    std::chrono::steady_clock::time_point next_jitter;
    uint64_t config_period_ns = 0;  // As the kernel side judges gaps by: the longest in use.
    std::chrono::steady_clock::time_point config_due;  // Then it is the rate's own again.
    CpuEvents events;
  };
  void WriteConfigPeriod(uint32_t session, uint64_t period_ns);
  uint64_t DrawPeriod(int hz);

  KernelSide* const kernel_;
  std::array<Session, kSessions> sessions_;
  std::mt19937_64 random_;
  std::chrono::steady_clock::time_point next_hotplug_check_;
};

}  // namespace hotpath
