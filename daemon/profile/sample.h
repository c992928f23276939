// One observation: who, where, of what, and how much it stands for.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/profile/frame.h"
#include "daemon/profile/profile_type.h"

namespace hotpath {

// A process running one program, for ever: pids are reused, a pid with its start time is not, and
// each execve makes it another program.
struct ProcessKey {
  uint32_t pid = 0;
  uint64_t start_time_ns = 0;  // Since boot.
  uint32_t exec_id = 0;        // Low 8 bits of the kernel's count of its execs.
  friend auto operator<=>(const ProcessKey&, const ProcessKey&) = default;
};

// How the walk of a user stack ended. Order and numbers are those of bpf/abi.h.
enum class WalkEnd : uint8_t {
  kComplete,      // Reached the thread's first frame.
  kNoUser,        // A kernel thread or an exiting task: there is no user stack.
  kTablePending,  // The file's unwind table is not loaded yet.
  kNoRule,        // No unwind rule covers the address, or it is one we cannot follow.
  kBadMemory,     // The stack could not be read.
  kFrameLimit,    // More frames than the limit; the middle is cut.
  kBadReturn,     // The return address is in no executable mapping.
};
inline constexpr size_t kWalkEnds = 7;

// The words of the `stack` label and of `[truncated: ...]`; empty for kComplete and kNoUser.
std::string_view WalkEndReason(WalkEnd end);
// One sentence, the metric's help.
std::string_view WalkEndSentence(WalkEnd end);

// Why samples are missing. Order and numbers are those of bpf/abi.h, then our own.
enum class Loss : uint8_t {
  kRingFull,   // The ring buffer had no room.
  kThrottled,  // The kernel delivered no sampling interrupt in time.
  kMapFull,    // A BPF map had no room.
  kTooLong,    // The record was longer than its buffer.
  kBusy,       // Another program held this CPU's scratch memory.
  // Ours, not the kernel side's:
  kMemoryLimit,  // The daemon was over its memory limit: no stack it did not know yet was kept.
};
inline constexpr size_t kLosses = 6;

// The words inside `[lost: ...]`: "ring buffer full", "throttled", "map full", "too long", "busy",
// "memory limit".
std::string_view LossReason(Loss loss);
std::string_view LossSentence(Loss loss);

// What the synthetic frames say. Numbers: 0..kWalkEnds-1 truncations, 64 + Loss losses.
Frame TruncatedFrame(WalkEnd end);
Frame LostFrame(Loss loss);
std::string SyntheticFrameName(Frame frame);  // "[truncated: no unwind rule]", "[lost: throttled]"

struct Sample {
  TypeId type = TypeId::kCpu;
  uint64_t time_ns = 0;  // CLOCK_MONOTONIC.
  uint64_t value = 0;    // What it stands for: ns of CPU time, else how many events.
  uint64_t bytes = 0;    // That those events allocated or touched; of cpu 0.
  ProcessKey process;
  uint32_t parent_pid = 0;  // Of the process that started it.
  uint32_t tid = 0;
  uint64_t cgroup_id = 0;
  uint16_t cpu = 0;
  uint8_t session = 0;  // Which sampling session took it; 0 is the one that is always on.
  WalkEnd walk_end = WalkEnd::kComplete;
  FileId failed_file;        // In whose code the walk ended, when it did not end well.
  std::string comm;          // The thread's name, at most 15 bytes.
  std::string process_name;  // The main thread's name.
  // Leaf first: kernel frames, then user frames; a cut stack ends with (or, where the root side is
  // known, holds in its middle) a truncated frame.
  std::vector<Frame> frames;
};

}  // namespace hotpath
