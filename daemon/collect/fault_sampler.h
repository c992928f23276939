// Samples of memory growth: page faults, on every CPU.
#pragma once

#include <chrono>
#include <cstdint>

#include "daemon/collect/cpu_events.h"
#include "daemon/collect/kernel_side.h"
#include "daemon/collect/sample_source.h"

namespace hotpath {

// Opens and closes the fault events. Which faults become samples, 40 a second and CPU at most, is
// decided in the kernel (bpf/fault.bpf.c): a reader that comes by each second could not follow a
// burst, and each change of a period makes the next fault a sample, which favours those who fault
// seldom.
class FaultSampler : public SampleSource {
 public:
  static constexpr int kHz = 40;
  static constexpr uint32_t kSession = 6;  // HP_SESSION_OF(HP_TYPE_MEMORY_GROWTH)

  explicit FaultSampler(KernelSide* kernel) : kernel_(kernel) {}

  Result<void> Start() override;
  void Stop() override;
  void Tick(double share) override;
  SessionCounters Counters() const override;

 private:
  void SetRate(double share);

  KernelSide* const kernel_;
  CpuEvents events_;
  double share_ = 1;
  std::chrono::steady_clock::time_point next_tick_;
};

}  // namespace hotpath
