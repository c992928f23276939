// The calls of allocators that are worth a probe: their symbols, and where their arguments are.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace hotpath {

// General registers, numbered as in machine code.
enum class Register : uint8_t {
  kRax,
  kRcx,
  kRdx,
  kRbx,
  kRsp,
  kRbp,
  kRsi,
  kRdi,
  kR8,
  kR9,
  kR10,
  kR11,
  kR12,
  kR13,
  kR14,
  kR15,
};
constexpr size_t kRegisters = 16;
const char* NameOf(Register place);  // "rdi".

// What an argument says.
enum class ArgumentRole : uint8_t {
  kPointer,  // The block that is freed or grown.
  kCount,    // How many elements; the bytes are count times size.
  kSize,     // Bytes.
};
constexpr size_t kArgumentRoles = 3;
const char* NameOf(ArgumentRole role);

enum class AllocatorCall : uint8_t {
  kMalloc,
  kCalloc,
  kRealloc,
  kReallocArray,
  kMemalign,  // And aligned_alloc: alignment, size.
  kPosixMemalign,
  kValloc,
  kFree,
  kNew,
  kNewAligned,
  kDelete,
  kDeleteSized,  // The size that comes second is not asked for.
};
constexpr size_t kAllocatorCalls = 12;

// Where the ABI puts an argument at entry.
struct EntryArgument {
  ArgumentRole role;
  Register place;
};

struct CallSignature {
  std::string_view name;  // "malloc", "operator new": for people.
  bool frees = false;     // It ends a block's life; realloc does both and is not one of these.
  std::span<const EntryArgument> arguments;
};
const CallSignature& SignatureOf(AllocatorCall call);

// One symbol that allocators give their functions.
struct AllocatorSymbol {
  std::string_view name;
  AllocatorCall call;
};
// All of them; of several names for one address the first here is the function's name.
std::span<const AllocatorSymbol> AllocatorSymbols();
bool IsAllocatorSymbol(std::string_view name);

}  // namespace hotpath
