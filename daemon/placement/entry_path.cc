// Decodes instruction by instruction and keeps account of registers and stack.
#include "daemon/placement/entry_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "daemon/placement/instruction.h"

namespace hotpath {
namespace {

constexpr size_t kMaxIdleInstructions = 16;
constexpr uint64_t kMaxInstructionBytes = ProbeRules::kMaxInstructionBytes;
constexpr int32_t kMaxStackBytes = 1 << 20;

// Which register holds which argument. A register holds nothing once a part of it is written.
class ArgumentPlaces {
 public:
  explicit ArgumentPlaces(AllocatorCall call) : wanted_(SignatureOf(call).arguments) {
    for (const EntryArgument& argument : wanted_) holds_[Index(argument.place)] = argument.role;
  }

  void Step(const Instruction& instruction) {
    std::optional<ArgumentRole> copied;
    if (instruction.copy) copied = holds_[Index(instruction.copy->second)];
    for (size_t i = 0; i < kRegisters; ++i) {
      if ((instruction.written >> i & 1U) != 0) holds_[i].reset();
    }
    if (instruction.copy) holds_[Index(instruction.copy->first)] = copied;
  }

  // All arguments, in the order of their roles, where the ABI puts them if they are still there.
  // nullopt when one of them is in no register any more.
  std::optional<std::vector<ProbeArgument>> All() const {
    std::vector<ProbeArgument> all;
    for (const EntryArgument& argument : wanted_) {
      size_t place = Index(argument.place);
      if (holds_[place] != argument.role) {
        place = static_cast<size_t>(std::ranges::find(holds_, std::optional(argument.role)) -
                                    holds_.begin());
      }
      if (place == kRegisters) return std::nullopt;
      all.push_back({argument.role, static_cast<Register>(place)});
    }
    return all;
  }

 private:
  static size_t Index(Register place) { return static_cast<size_t>(place); }

  std::span<const EntryArgument> wanted_;
  std::array<std::optional<ArgumentRole>, kRegisters> holds_;
};

// Whether a call that goes to `address` returns soon, without a store or a call: it does no work.
bool ReturnsAtOnce(const ProgramCode& code, uint64_t address) {
  for (size_t i = 0; i < kMaxIdleInstructions; ++i) {
    const auto instruction = DecodeInstruction(code.At(address, kMaxInstructionBytes), address);
    if (!instruction || instruction->writes_memory) return false;
    if (instruction->flow == Flow::kReturn) return true;
    if (instruction->flow != Flow::kNext) return false;
    address += instruction->bytes;
  }
  return false;
}

// Follows one function; holds the state between two instructions.
class Follower {
 public:
  Follower(const ProgramCode& code, uint64_t address, AllocatorCall call)
      : code_(code), entry_(address), places_(call) {}

  EntryPath Follow(uint64_t end) {
    uint64_t address = entry_;
    for (size_t index = 0; path_.end.empty(); ++index) {
      const uint64_t limit = std::min(end, entry_ + ProbeRules::kMaxBytes);
      if (index == ProbeRules::kMaxInstructions || address >= limit) {
        path_.end = "the search ends there";
        break;
      }
      const auto instruction = DecodeInstruction(
          code_.At(address, std::min<uint64_t>(limit - address, kMaxInstructionBytes)), address);
      if (!instruction) {
        path_.end = fmt::format("the bytes at +{:#x} are no instruction", address - entry_);
        break;
      }
      Consider(*instruction, index);
      Pass(*instruction);
      address += instruction->bytes;
    }
    return std::move(path_);
  }

 private:
  ProbeSite SiteAt(const Instruction& instruction) const {
    ProbeSite site;
    site.address = instruction.address;
    site.offset = code_.OffsetOf(instruction.address).value_or(0);
    site.instruction =
        InstructionText(code_.At(instruction.address, instruction.bytes), instruction.address);
    site.probe_class = instruction.probe_class;
    site.sp_delta_bytes = static_cast<uint32_t>(-stack_change_);
    site.at_entry = instruction.address == entry_;
    site.skips_idle_calls = skips_idle_calls_;
    return site;
  }

  void Consider(const Instruction& instruction, size_t index) {
    const auto arguments = places_.All();
    if (!arguments) {
      path_.end = fmt::format("its arguments are no longer in registers at +{:#x}",
                              instruction.address - entry_);
      return;
    }
    const bool emulated = instruction.probe_class == ProbeClass::kEmulated ||
                          instruction.probe_class == ProbeClass::kNop;
    if (!emulated && instruction.address != entry_) return;
    if (instruction.probe_class == ProbeClass::kRefused) return;
    ProbeSite site = SiteAt(instruction);
    site.arguments = *arguments;
    if (instruction.flow == Flow::kCall) {
      site.why = "a call: not where a shadow stack is on, which older kernels leave behind";
    }
    if (instruction.address == entry_) path_.entry = site;
    if (emulated)
      path_.candidates.push_back({std::move(site), index, instruction.flow == Flow::kCall});
  }

  void Pass(const Instruction& instruction) {
    if (!path_.end.empty()) return;
    const uint64_t at = instruction.address - entry_;
    if (instruction.flow == Flow::kBranch) {
      if (!ReturnsAtOnce(code_, instruction.target)) {
        path_.end = fmt::format("calls part at the branch at +{:#x}", at);
        return;
      }
      skips_idle_calls_ = true;
    } else if (instruction.flow != Flow::kNext) {
      path_.end = fmt::format("its straight line ends at +{:#x}", at);
      return;
    }
    places_.Step(instruction);
    if (!instruction.sp_change) {
      path_.end = fmt::format("the stack pointer is not known behind +{:#x}", at);
      return;
    }
    stack_change_ += *instruction.sp_change;
    if (stack_change_ > 0 || stack_change_ < -kMaxStackBytes) {
      path_.end = fmt::format("the stack pointer leaves the frame at +{:#x}", at);
    }
  }

  const ProgramCode& code_;
  const uint64_t entry_;
  ArgumentPlaces places_;
  int32_t stack_change_ = 0;  // rsp minus its value at entry.
  bool skips_idle_calls_ = false;
  EntryPath path_;
};

}  // namespace

EntryPath FollowEntry(const ProgramCode& code, uint64_t address, uint64_t end, AllocatorCall call) {
  return Follower(code, address, call).Follow(end);
}

}  // namespace hotpath
