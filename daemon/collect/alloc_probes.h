// Windows of probes on a process's allocator: opened, watched, closed.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "daemon/base/bounded_queue.h"
#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/collect/kernel_side.h"
#include "daemon/collect/uprobe_link.h"
#include "daemon/estimate/byte_sampling.h"
#include "daemon/estimate/probe_window.h"

struct alloc_bpf;
struct hp_alloc_config;
struct hp_alloc_state;
struct hp_hit;

namespace hotpath {

// What a probe finds at its place. Registers by their DWARF numbers: rdx 1, rcx 2, rsi 4, rdi 5,
// r8 8.
struct AllocSite {
  enum class Role : uint8_t { kFirst, kSecond, kOnly };
  uint64_t offset = 0;  // In the file.
  Role role = Role::kFirst;
  uint8_t size_register = 5;           // Holds the size that is asked for,
  std::optional<uint8_t> by_register;  // times what this one holds.
  // Calls in which this one holds `skip_up_to` or less are no hits: they go on to a function that
  // is probed too, such as realloc(NULL, n) to malloc(n).
  std::optional<uint8_t> skip_register;
  uint8_t skip_up_to = 0;
};

// The file that holds a process's allocator, and where to probe it.
struct AllocTarget {
  uint32_t pid = 0;  // Thread group.
  int file_fd = -1;  // Borrowed.
  std::vector<AllocSite> sites;
};

struct WindowPlan {
  uint64_t start_ns = 0;       // CLOCK_MONOTONIC; a time not later than this.
  uint64_t length_ns = 0;      // From arming to disarming, at most.
  uint32_t max_hits = 20'000;  // HP_ALLOC_MAX_HITS at most: then the window ends early.
  uint32_t max_walks = 256;    // Stacks; further sampled allocations are lost, and counted.
};

struct OpenedWindow {
  ProbeWindow window;
  uint64_t late_ns = 0;  // From the planned start until armed.
  uint64_t lost = 0;     // Sampled allocations without a stack.
};

// Owns the programs and maps of bpf/alloc.bpf.c. One thread opens windows; another may stop them.
//
// When a window opens must not depend on what the process does. An attach that waits for a grace
// period of the kernel ends when the process sleeps: of a program that bursts a tenth of the time,
// 5 % of such windows opened in a burst. So, until the start, a place in ourselves is probed again
// and again: while the kernel has just attached something, it attaches the next without waiting
// (0.05 ms instead of 7). Measured: 9.7 % of windows in a burst then.
class AllocProbes {
 public:
  // One byte in so many is sampled.
  static constexpr uint64_t kSampleBytes = 4096;

  // Borrows `stopped`, which any thread may set: while it is true no window opens, and an open one
  // closes within 1 ms. Errors: as KernelSide::Load; kUnsupported: kernel before 6.6.
  static Result<std::unique_ptr<AllocProbes>> Load(const KernelSide& kernel,
                                                   const std::atomic<bool>* stopped);
  ~AllocProbes();

  // From now on (until Unwatch) the time that a process's threads spend on CPUs is kept.
  // Errors: kBusy (HP_ALLOC_MAX_WATCHED are watched).
  Result<void> Watch(uint32_t pid);
  void Unwatch(uint32_t pid);
  struct ThreadTime {
    uint32_t tid = 0;
    uint64_t on_cpu_ns = 0;         // Since Watch; threads that never came or went are missing.
    uint64_t running_since_ns = 0;  // 0: it is off its CPU.
  };
  std::vector<ThreadTime> ThreadTimes(uint32_t pid) const;

  // Blocks until the window is over; its breakpoints are out of the process then or some us later.
  // Errors: as AttachUprobes; kUnavailable: stopped.
  Result<OpenedWindow> Open(const AllocTarget& target, const WindowPlan& plan);

 private:
  AllocProbes() = default;
  Result<void> Prepare(uint64_t start_ns, std::vector<Fd>& decoys);
  Result<void> MapAll();
  void Collect(OpenedWindow& opened) const;
  void CloseLinks(BoundedQueue<Fd>& links);

  alloc_bpf* skeleton_ = nullptr;
  uint32_t session_ = 0;
  hp_alloc_config* config_ = nullptr;  // Mapped, as the three below.
  hp_alloc_state* state_ = nullptr;
  hp_hit* hits_ = nullptr;
  int watched_ = 0;  // While it is 0, no switch of threads costs anything.
  const std::atomic<bool>* stopped_ = nullptr;
  // Links to close. Each close takes the breakpoints out at once and then waits for the kernel,
  // many can do so together. The probes' own are not to wait behind decoys: two of them would count
  // every call twice, and a probe that stays slows its process down.
  BoundedQueue<Fd> probes_to_close_{64};
  BoundedQueue<Fd> decoys_to_close_{1024};
  std::array<std::thread, 2> probe_closers_;
  std::array<std::thread, 4> decoy_closers_;
};

}  // namespace hotpath
