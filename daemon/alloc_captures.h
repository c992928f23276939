// Captures of allocations: what the pipeline asks of the rooms that watch allocators.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "daemon/allocations/alloc_session.h"
#include "daemon/allocators/allocator_finder.h"
#include "daemon/base/metrics.h"
#include "daemon/base/result.h"
#include "daemon/collect/alloc_probes.h"
#include "daemon/collect/sample_source.h"
#include "daemon/files/file_worker.h"

namespace hotpath {

// Owns the probes, which are loaded when they are first asked for, and the finder of allocators.
// One capture at a time. Thread-safe. While nobody captures, no probe is in place and no program of
// it runs.
class AllocCaptures : public SampleSource {
 public:
  // Borrows `kernel`. `allowed` false: --no-alloc or a budget of 0.
  AllocCaptures(KernelSide* kernel, bool allowed) : kernel_(kernel), allowed_(allowed) {}

  struct Candidate {
    uint32_t pid = 0;
    double weight = 1;  // Its share of the windows, in proportion.
  };
  // Finds the allocators of the candidates; those without one are left out. Blocks for some 100 ms
  // for a file that is new. Errors: kBusy (another capture is under way), kUnavailable (probes are
  // switched off), kUnsupported (kernel before 6.6), kNotFound (no candidate), and where none can
  // be probed, why the first cannot.
  Result<std::unique_ptr<AllocSession>> Begin(const std::vector<Candidate>& candidates);
  // After the session is destroyed.
  void End(const WindowTotals& totals, double trap_ns);

  // The kill switch, from any thread: returns when no probe is in place, within 100 ms.
  void SetEnabled(bool enabled);

  std::vector<MetricFamily> Metrics() const;

  // Sessions are captures' own: there is nothing to start.
  Result<void> Start() override { return {}; }
  void Stop() override {}
  void Tick(double) override {}
  SessionCounters Counters() const override;

 private:
  Result<void> LoadProbes();

  KernelSide* const kernel_;
  const bool allowed_;
  std::atomic<bool> stopped_{false};  // Not under mutex_: the kill switch waits for nobody.
  mutable std::mutex mutex_;          // Guards all below.
  bool busy_ = false;
  std::unique_ptr<AllocProbes> probes_;
  FileWorker worker_;
  AllocatorFinder finder_{worker_};
  WindowTotals totals_;
  double trap_ns_ = 0;
  uint64_t refused_ = 0;  // Processes that could not be probed.
};

}  // namespace hotpath
