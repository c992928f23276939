// One step of a stack: where the code is, with no process and no name attached.
#pragma once

#include <cstdint>

#include "daemon/base/strong_id.h"

namespace hotpath {

// What a frame's 64 bits mean; the values of the two top bits.
enum class FrameKind : uint8_t {
  kFile = 0,       // A place in a file: (FileId, offset in the file).
  kAnonymous = 1,  // An address of one process that no file backs: JIT, stack, heap.
  kSynthetic = 2,  // Ours: "[truncated: bad memory]", "[lost: ring buffer full]".
  kKernel = 3,     // A kernel address.
};

// 8 bytes, compared and hashed as an integer. The kinds are those of bpf/abi.h (asserted in
// daemon/collect); the file is 26 bits here, as its number is never given again, and its offset 36:
// code past 64 GiB of a file is in FileId 0. A caller's frame holds its return address minus one.
struct Frame {
  uint64_t bits = 0;

  static constexpr int kFileShift = 36;
  static constexpr uint64_t kOffsetMask = (uint64_t{1} << kFileShift) - 1;
  static constexpr uint32_t kFileMask = (1U << 26) - 1;

  static constexpr Frame File(FileId file, uint64_t offset) {
    return {uint64_t{file.value & kFileMask} << kFileShift | (offset & kOffsetMask)};
  }
  static constexpr Frame Anonymous(uint64_t address) {
    return {uint64_t{1} << 62 | (address & ~(uint64_t{3} << 62))};
  }
  static constexpr Frame Kernel(uint64_t address) { return {address | uint64_t{3} << 62}; }
  static constexpr Frame Synthetic(uint32_t number) { return {uint64_t{2} << 62 | number}; }

  constexpr FrameKind kind() const { return static_cast<FrameKind>(bits >> 62); }
  constexpr FileId file() const {
    return {static_cast<uint32_t>(bits >> kFileShift) & kFileMask};  // kFile only.
  }
  constexpr uint64_t offset() const { return bits & kOffsetMask; }  // kFile only: bytes.
  // kKernel and kAnonymous: the address. kSynthetic: the number.
  constexpr uint64_t address() const {
    return kind() == FrameKind::kKernel ? bits : bits & ~(uint64_t{3} << 62);
  }
  friend constexpr auto operator<=>(const Frame&, const Frame&) = default;
};

}  // namespace hotpath
