// The whole path of a sample on one page: kernel -> reader -> captures -> whoever asked.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "daemon/alloc_captures.h"
#include "daemon/allocations/busy_processes.h"
#include "daemon/base/bounded_queue.h"
#include "daemon/base/metrics.h"
#include "daemon/base/result.h"
#include "daemon/collect/cpu_sampler.h"
#include "daemon/collect/fault_sampler.h"
#include "daemon/collect/kernel_side.h"
#include "daemon/collect/ring_reader.h"
#include "daemon/collect/sample_source.h"
#include "daemon/files/file_registry.h"
#include "daemon/files/file_worker.h"
#include "daemon/files/id_recycler.h"
#include "daemon/files/table_loader.h"
#include "daemon/govern/cpu_governor.h"
#include "daemon/govern/memory_governor.h"
#include "daemon/open_capture.h"
#include "daemon/profile/capture.h"
#include "daemon/profile/file_slots.h"
#include "daemon/symbolize/caching_symbolizer.h"
#include "daemon/symbolize/elf_symbolizer.h"
#include "daemon/workload/process_facts.h"

namespace hotpath {

// Owns all parts and the threads:
//   reader   ring buffer -> samples into open captures; new files into a bounded queue; timers
//   files    queue -> open, index in the sandboxed child, load the table into the kernel
// Callers of Capture() block on their own threads. Shared: the list of captures (one mutex), the
// queue, immutable windows, counters.
class Pipeline : public CaptureSource, public MetricsSource, private RingSink {
 public:
  struct Settings {
    int always_on_hz = 19;  // 0: nothing is sampled until somebody asks.
    uint64_t ring_bytes = 0;
    uint64_t table_cap_bytes = 24 << 20;
    uint32_t max_files = 0;           // As KernelSide::Options.
    uint64_t memory_limit_bytes = 0;  // 0: none, tables may take table_cap_bytes.
    double cpu_budget_ratio = 0;      // Of one CPU; 0: none.
    bool allocs_allowed = true;       // False: no allocator is ever probed.
    std::string state_dir;            // Empty: symbol indices are kept in memory.
  };
  // Loads the kernel side and starts sampling. Errors: as KernelSide::Load and CpuSampler::Start.
  static Result<std::unique_ptr<Pipeline>> Start(const Settings& settings);
  ~Pipeline() override;  // Ends captures, threads and everything in the kernel.

  Result<std::unique_ptr<Window>> Capture(const CaptureRequest& request,
                                          const std::atomic<bool>& cancelled) override;
  std::vector<MetricFamily> Collect() override;
  Symbolizer& symbolizer() { return *symbolizer_; }
  // Meets the files of what runs now and passes `filter`, for a third of a second, and waits (3 s
  // at most) until their tables are built: without it, the first samples of a fresh pipeline find
  // none.
  void WarmUp(const CaptureFilter& filter);
  // An error while there is no sampling: what readiness means.
  Result<void> Ready() const;
  // The kill switch: while off, no probe is in any process. Returns within 100 ms.
  void SetProbesEnabled(bool enabled) { allocs_->SetEnabled(enabled); }
  // Makes captures that wait return at once with what they have. For shutdown.
  void EndCaptures();

 private:
  // Whose samples a capture takes.
  struct SessionRef {
    TypeId type = TypeId::kCpu;
    uint32_t number = 0;
  };
  explicit Pipeline(Settings settings);
  void OnSample(const Sample& sample) override;
  void OnFile(const FileSighting& file) override;
  void RunReader();
  void RunFiles();
  void RecycleFileIds();
  // Each second, on the reader's thread: what we use against what we may use.
  void Govern();
  void GovernCpu(double seconds);
  // Of the usual rate of what is always on, what the CPU budget allows now. mutex_ is held.
  double BudgetShare() const;
  MemoryPlan GovernMemory(uint64_t resident_bytes);
  // Seconds since the last call: threads, children, and our programs in the kernel. mutex_ is held.
  double UsedCpu();
  void PauseBetweenFiles(std::chrono::steady_clock::duration file_took);
  std::vector<MetricFamily> GovernMetrics() const;
  std::vector<MetricFamily> TypeMetrics() const;
  // A session of the request's type that samples as it asks. mutex_ is held in all of these.
  Result<SessionRef> AcquireSession(const CaptureRequest& request, TypeId type);
  Result<SessionRef> AcquireCpuSession(const CaptureRequest& request);
  Result<SessionRef> AcquireSource(TypeId type);
  void ReleaseSession(SessionRef session);
  SessionCounters Counters(SessionRef session) const;
  // Of all sessions of a type, the ended ones included.
  SessionCounters TotalCounters(TypeId type) const;
  // Starts what is always on.
  Result<void> StartSampling();
  // Blocks until the capture is over; the end of the interval that it is of.
  uint64_t WaitForEnd(const CaptureRequest& request, const std::atomic<bool>& cancelled,
                      uint64_t begin_ns) const;
  // Whom a capture of allocations watches: the processes asked for, else those that use most CPU.
  Result<std::unique_ptr<AllocSession>> BeginAllocs(const CaptureRequest& request);
  // Blocks until the capture is over; the end of the interval that it is of.
  uint64_t RunAllocs(AllocSession& session, const CaptureRequest& request,
                     const std::atomic<bool>& cancelled, uint64_t begin_ns);
  void DropAllocatorFrames(Window& window) const;
  void DrainRing();   // Waits until the ring holds nothing older than now.
  void DrainFiles();  // Waits until the files thread has caught up, 3 s at most.
  // A process that was gone before anybody could ask /proc runs what its `_start` lies in.
  void NameExecutables(Window& window) const;

  const Settings settings_;
  FileSlots slots_;
  std::unique_ptr<KernelSide> kernel_;
  std::unique_ptr<TableLoader> tables_;
  std::unique_ptr<FileWorker> worker_;
  std::unique_ptr<FileRegistry> registry_;
  std::unique_ptr<IdRecycler> recycler_;
  std::unique_ptr<KernelSymbolizer> kernel_symbols_;
  std::unique_ptr<PerfMaps> perf_maps_;
  std::unique_ptr<ElfSymbolizer> elf_symbolizer_;
  std::unique_ptr<CachingSymbolizer> symbolizer_;
  std::unique_ptr<RingReader> reader_;
  std::unique_ptr<ProcessTable> processes_;

  mutable std::mutex mutex_;  // Guards sampler_, sources_, sessions_ and captures_.
  std::unique_ptr<CpuSampler> sampler_;
  struct Session {
    int users = 0;
    int hz = 0;
    bool restricted = false;  // To some processes, by one capture: not shared.
  };
  std::array<Session, CpuSampler::kSessions> sessions_;
  // Of a type other than cpu. Captures share it; while nobody wants it, it does not sample.
  struct Source {
    std::unique_ptr<SampleSource> sampling;  // Null: this type is not sampled here.
    uint32_t session = 0;                    // The number its samples carry.
    int users = 0;                           // Always-on counts as one.
    SessionCounters ended = {};              // What user space lost of it.
  };
  std::array<Source, kTypes> sources_;
  AllocCaptures* allocs_ = nullptr;  // Of sources_.
  BusyProcesses busy_;
  SessionCounters ended_;               // Sum over the sessions that were stopped.
  std::vector<OpenCapture*> captures_;  // On the stacks of the threads that are in Capture().

  // Of Govern(); guarded by mutex_ but for what is atomic and governed_at_, the reader's own.
  CpuGovernor cpu_governor_;
  MemoryGovernor memory_governor_;
  std::chrono::steady_clock::time_point governed_at_;
  std::chrono::steady_clock::time_point capture_seen_at_;
  double process_cpu_s_ = 0;    // Of threads and children at governed_at_; never goes back.
  double kernel_cpu_s_ = 0;     // Of our programs in the kernel.
  double requested_cpu_s_ = 0;  // Of it, while captures were under way.
  uint64_t memory_bytes_ = 0;   // At governed_at_.
  bool said_cpu_ = false, said_memory_ = false;
  bool refuse_captures_ = false;
  uint64_t refused_captures_ = 0;
  std::atomic<bool> slow_files_{false};
  std::atomic<uint64_t> paused_ms_{0};  // Of the files thread, for the budget.

  BoundedQueue<NewFile> new_files_{4096};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> end_captures_{false};
  std::atomic<uint64_t> reader_rounds_{0};  // Completed polls, for Drain.
  std::atomic<uint64_t> samples_read_{0};
  std::atomic<uint64_t> files_dropped_{0};
  std::mutex round_mutex_;  // Guards files_waiting_, and reader_rounds_ against lost wake-ups.
  std::set<FileId> files_waiting_;  // In new_files_ or being indexed.
  std::condition_variable round_done_;
  std::thread reader_thread_;
  std::thread files_thread_;
};

}  // namespace hotpath
