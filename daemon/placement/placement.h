// Where probes may sit in an allocator's functions, in which class of cost, and why not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "daemon/placement/allocator_call.h"

namespace hotpath {

// What a hit costs. Measured on one host (Linux 6.18, a virtual machine): emulated 1.0 us, stepped
// 12 to 17 us; on bare metal 0.3 and 0.9 us.
enum class ProbeClass : uint8_t {
  kEmulated,  // The kernel emulates it: push, jmp, jcc, call.
  kNop,       // A nop of one byte, emulated too: left there for probes.
  kStepped,   // Copied elsewhere and single-stepped: a second exception.
  kRefused,   // No probe here; `why` says what could not be shown.
};

// Of kEmulated: "emulated", and so on; the words of cli.md.
const char* NameOf(ProbeClass probe_class);

// Where one of a call's values is when the probe hits.
struct ProbeArgument {
  ArgumentRole role = ArgumentRole::kSize;
  Register place = Register::kRdi;
  bool operator==(const ProbeArgument&) const = default;
};

// One instruction.
struct ProbeSite {
  uint64_t offset = 0;      // In the file.
  uint64_t address = 0;     // ELF virtual address.
  std::string instruction;  // AT&T syntax: "push %rbp".
  ProbeClass probe_class = ProbeClass::kRefused;
  uint32_t sp_delta_bytes = 0;  // By how much rsp is below its value at the function's entry.
  bool at_entry = false;        // It is the function's first instruction.
  // It lies behind a branch by which calls that do nothing, such as free(NULL), return: those do
  // not hit it. All other calls do.
  bool skips_idle_calls = false;
  std::vector<ProbeArgument> arguments;  // By the decoded moves, in the order of ArgumentRole.
  std::string why;                       // kRefused, kStepped: the reason; else a remark or empty.
};

// A function of an allocator and its probes.
struct ProbedFunction {
  AllocatorCall call = AllocatorCall::kMalloc;
  std::string name;                  // The symbol: "malloc", "_Znwm".
  std::vector<std::string> aliases;  // Other symbols of the same code; never probed again.
  uint64_t address = 0;              // ELF virtual address; 0 when refused for want of code.
  bool exported = false;             // Other files may bind to it.
  // The first instruction that the kernel emulates, that every call passes, and that leaves the
  // arguments in registers. kStepped: there is none, and this is the entry. kRefused: no probe.
  ProbeSite site;
  // The pair: the next such instruction, no call, at most ProbeRules::kMaxPairInstructions on.
  // Whoever passes the one passes the other, unless it alone skips idle calls.
  std::optional<ProbeSite> second;
  // Functions of this file's list, or malloc and the like in another file ("malloc@plt"), that its
  // code, or code that it calls directly, calls or jumps to: one call may then hit twice.
  std::vector<std::string> enters;
  // The bytes that were decoded, from `address` to the end of the last site's instruction; empty
  // when refused. To be compared with a process's memory before a probe is attached.
  std::vector<uint8_t> code;
};

// What one file has of an allocator. An immutable fact about the file's bytes, by build ID.
struct Placement {
  std::string allocator;  // "glibc 2.36", "jemalloc 5.3.0"; empty: a file that only passes on.
  std::string build_id;
  std::vector<ProbedFunction> functions;  // In the order of the table of names.
};

// The bounds within which sites are looked for.
struct ProbeRules {
  static constexpr size_t kMaxInstructions = 64;
  static constexpr uint64_t kMaxBytes = 256;
  static constexpr uint64_t kMaxInstructionBytes = 15;
  static constexpr size_t kMaxPairInstructions = 8;
  static constexpr uint64_t kMaxFunctionBytes = 64 << 10;  // Larger ones: a site at entry only.
};

}  // namespace hotpath
