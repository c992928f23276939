// Sweeps over functions, over all bytes, and along the flow of control.
#include "daemon/placement/branches.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "daemon/placement/instruction.h"

namespace hotpath {
namespace {

constexpr uint64_t kMaxInstructionBytes = ProbeRules::kMaxInstructionBytes;
constexpr size_t kMaxFollowed = 20'000;

bool IsLocal(Flow flow) { return flow == Flow::kBranch || flow == Flow::kJump; }

// Whether an instruction begins at `address`, as its function's decoding from the start tells.
// True where no table knows the function, or it does not decode.
bool MayBeginAt(const ProgramCode& code, uint64_t address) {
  const CodeExtent* extent = code.ExtentOf(address);
  if (extent == nullptr) return true;
  uint64_t at = extent->begin;
  while (at < address) {
    const auto instruction = DecodeFlow(code.At(at, kMaxInstructionBytes), at);
    if (!instruction) return true;
    at += instruction->bytes;
  }
  return at == address;
}

// The targets of what looks like a branch with a 32-bit distance in `segment`.
class DistanceScan {
 public:
  DistanceScan(const ProgramCode& code, std::vector<Window> windows)
      : code_(code), windows_(std::move(windows)) {
    std::ranges::sort(windows_, {}, &Window::begin);
    for (const Window& window : windows_) {
      lowest_ = std::min(lowest_, window.begin);
      highest_ = std::max(highest_, window.end);
    }
  }

  void Read(const CodeSegment& segment, std::vector<uint64_t>& landings) const {
    constexpr size_t kDistanceBytes = 4;
    const std::span<const uint8_t> bytes = segment.bytes;
    for (size_t i = 1; i + kDistanceBytes <= bytes.size(); ++i) {
      const uint8_t opcode = bytes[i - 1];
      const bool jump = opcode == 0xe8 || opcode == 0xe9;
      const bool branch = i >= 2 && (opcode & 0xf0) == 0x80 && bytes[i - 2] == 0x0f;
      if (!jump && !branch) continue;
      int32_t distance = 0;
      std::memcpy(&distance, bytes.data() + i, sizeof distance);
      const uint64_t target = segment.address + i + kDistanceBytes +
                              static_cast<uint64_t>(static_cast<int64_t>(distance));
      if (target < lowest_ || target > highest_ || !InWindow(target)) continue;
      if (MayBeginAt(code_, segment.address + i - (branch ? 2 : 1))) landings.push_back(target);
    }
  }

 private:
  bool InWindow(uint64_t target) const {
    return std::ranges::any_of(windows_, [target](const Window& window) {
      return target >= window.begin && target <= window.end;
    });
  }

  const ProgramCode& code_;
  std::vector<Window> windows_;
  uint64_t lowest_ = UINT64_MAX, highest_ = 0;
};

// Walks along the flow of control.
class FlowWalk {
 public:
  FlowWalk(const ProgramCode& code, std::span<const uint64_t> stops) : code_(code), stops_(stops) {}

  std::vector<uint64_t> Walk(uint64_t entry, unsigned depth) {
    std::vector<uint64_t> level{entry};
    for (unsigned i = 0; i <= depth; ++i) {
      std::vector<uint64_t> calls;
      for (const uint64_t start : level) FollowCode(start, calls);
      level = std::move(calls);
    }
    std::ranges::sort(found_);
    found_.erase(std::ranges::unique(found_).begin(), found_.end());
    return std::move(found_);
  }

 private:
  bool IsStop(uint64_t address) const {
    return std::ranges::find(stops_, address) != stops_.end() || !code_.StubAt(address).empty();
  }

  // Follows all that is reached from `start` without a call; `calls`: where calls go.
  void FollowCode(uint64_t start, std::vector<uint64_t>& calls) {
    std::vector<uint64_t> open{start};
    while (!open.empty()) {
      uint64_t at = open.back();
      open.pop_back();
      while (visited_.size() < kMaxFollowed && visited_.insert(at).second) {
        const auto instruction = DecodeFlow(code_.At(at, kMaxInstructionBytes), at);
        if (!instruction) break;
        const Flow flow = instruction->flow;
        if (flow == Flow::kBranch || flow == Flow::kJump || flow == Flow::kCall) {
          if (IsStop(instruction->target)) {
            found_.push_back(instruction->target);
          } else {
            (flow == Flow::kCall ? calls : open).push_back(instruction->target);
          }
        }
        const bool goes_on = flow == Flow::kNext || flow == Flow::kBranch || flow == Flow::kCall ||
                             flow == Flow::kAwayCall;
        if (!goes_on) break;
        at += instruction->bytes;
      }
    }
  }

  const ProgramCode& code_;
  std::span<const uint64_t> stops_;
  std::unordered_set<uint64_t> visited_;
  std::vector<uint64_t> found_;
};

}  // namespace

FunctionBranches ReadBranches(const ProgramCode& code, uint64_t begin, uint64_t bytes) {
  FunctionBranches branches;
  if (bytes == 0 || bytes > ProbeRules::kMaxFunctionBytes) return branches;
  const std::span<const uint8_t> body = code.At(begin, bytes);
  if (body.size() < bytes) return branches;
  for (size_t at = 0; at < bytes;) {
    const auto instruction = DecodeFlow(body.subspan(at), begin + at);
    if (!instruction) return branches;
    if (instruction->flow == Flow::kAway) branches.jumps_by_table = true;
    if (IsLocal(instruction->flow) && instruction->target - begin < bytes) {
      branches.inside.push_back(instruction->target);
    }
    at += instruction->bytes;
  }
  branches.whole = true;
  return branches;
}

std::vector<uint64_t> LandingsIn(const ProgramCode& code, std::vector<Window> windows) {
  std::vector<uint64_t> landings;
  const DistanceScan scan(code, std::move(windows));
  for (const CodeSegment& segment : code.segments()) scan.Read(segment, landings);
  return landings;
}

std::vector<uint64_t> EntersOf(const ProgramCode& code, uint64_t entry,
                               std::span<const uint64_t> stops, unsigned depth) {
  return FlowWalk(code, stops).Walk(entry, depth);
}

}  // namespace hotpath
