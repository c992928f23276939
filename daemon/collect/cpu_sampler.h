// Sampling sessions on the CPU clock: one perf event a CPU and session.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/collect/kernel_side.h"
#include "daemon/profile/window.h"

struct bpf_link;

namespace hotpath {

// What the kernel side counted for one session, summed over CPUs, since the session started.
struct SessionCounters {
  SampleSum sent;
  uint64_t idle_ns = 0;
  std::array<SampleSum, kLosses> lost{};
  std::array<uint64_t, kWalkEnds> walk_ends{};

  SessionCounters& operator+=(const SessionCounters& other);
};

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
  bool running(uint32_t session) const { return !sessions_.at(session).cpus.empty(); }

  // Draws new periods where it is time: each 200 ms at 50 Hz and more, each second below. Each
  // second it looks for CPUs that came online or went, or both in between. Call it as often as you
  // like.
  void Tick();
  SessionCounters Counters(uint32_t session) const;

 private:
  struct CpuEvent {
    int event_fd = -1;  // Owned and closed by link.
    bpf_link* link = nullptr;
    uint64_t incarnation = 0;  // Of the CPU, when the event was opened.
  };
  struct Session {
    int hz = 0;
    std::chrono::steady_clock::time_point next_jitter;
    uint64_t config_period_ns = 0;  // As the kernel side judges gaps by: the longest in use.
    std::chrono::steady_clock::time_point config_due;  // Then it is the rate's own again.
    std::map<int, CpuEvent> cpus;                      // By CPU number.
  };
  void WriteConfigPeriod(uint32_t session, uint64_t period_ns);
  Result<void> OpenCpu(uint32_t session, int cpu);
  void FollowHotplug(uint32_t session, std::span<const int> online);
  static void CloseCpu(CpuEvent& event);
  uint64_t DrawPeriod(int hz);

  KernelSide* const kernel_;
  std::array<Session, kSessions> sessions_;
  std::mt19937_64 random_;
  std::chrono::steady_clock::time_point next_hotplug_check_;
};

// CPUs of a list as /sys/devices/system/cpu/online has it ("0-3,8"); empty when malformed.
std::vector<int> ParseCpuList(const std::string& text);

}  // namespace hotpath
