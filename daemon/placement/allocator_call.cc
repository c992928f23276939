// Tables only.
#include "daemon/placement/allocator_call.h"

#include <algorithm>
#include <array>

namespace hotpath {
namespace {

using enum AllocatorCall;
using enum ArgumentRole;

constexpr EntryArgument kSizeFirst[] = {{kSize, Register::kRdi}};
constexpr EntryArgument kSizeSecond[] = {{kSize, Register::kRsi}};
constexpr EntryArgument kSizeThird[] = {{kSize, Register::kRdx}};
constexpr EntryArgument kCountAndSize[] = {{kCount, Register::kRdi}, {kSize, Register::kRsi}};
constexpr EntryArgument kPointerFirst[] = {{kPointer, Register::kRdi}};
constexpr EntryArgument kPointerAndSize[] = {{kPointer, Register::kRdi}, {kSize, Register::kRsi}};
constexpr EntryArgument kPointerCountSize[] = {
    {kPointer, Register::kRdi}, {kCount, Register::kRsi}, {kSize, Register::kRdx}};

// In the order of AllocatorCall.
constexpr std::array<CallSignature, kAllocatorCalls> kSignatures = {{
    {"malloc", false, kSizeFirst},
    {"calloc", false, kCountAndSize},
    {"realloc", false, kPointerAndSize},
    {"reallocarray", false, kPointerCountSize},
    {"memalign", false, kSizeSecond},
    {"posix_memalign", false, kSizeThird},
    {"valloc", false, kSizeFirst},
    {"free", true, kPointerFirst},
    {"operator new", false, kSizeFirst},
    {"operator new", false, kSizeFirst},
    {"operator delete", true, kPointerFirst},
    {"operator delete", true, kPointerFirst},
}};

constexpr AllocatorSymbol kSymbols[] = {
    {"malloc", kMalloc},
    {"calloc", kCalloc},
    {"realloc", kRealloc},
    {"reallocarray", kReallocArray},
    {"memalign", kMemalign},
    {"aligned_alloc", kMemalign},
    {"posix_memalign", kPosixMemalign},
    {"valloc", kValloc},
    {"pvalloc", kValloc},
    {"free", kFree},
    {"cfree", kFree},
    {"free_sized", kDeleteSized},
    {"_Znwm", kNew},
    {"_ZnwmRKSt9nothrow_t", kNew},
    {"_Znam", kNew},
    {"_ZnamRKSt9nothrow_t", kNew},
    {"_ZnwmSt11align_val_t", kNewAligned},
    {"_ZnwmSt11align_val_tRKSt9nothrow_t", kNewAligned},
    {"_ZnamSt11align_val_t", kNewAligned},
    {"_ZnamSt11align_val_tRKSt9nothrow_t", kNewAligned},
    {"_ZdlPv", kDelete},
    {"_ZdlPvRKSt9nothrow_t", kDelete},
    {"_ZdlPvSt11align_val_t", kDelete},
    {"_ZdlPvSt11align_val_tRKSt9nothrow_t", kDelete},
    {"_ZdaPv", kDelete},
    {"_ZdaPvRKSt9nothrow_t", kDelete},
    {"_ZdaPvSt11align_val_t", kDelete},
    {"_ZdaPvSt11align_val_tRKSt9nothrow_t", kDelete},
    {"_ZdlPvm", kDeleteSized},
    {"_ZdlPvmSt11align_val_t", kDeleteSized},
    {"_ZdaPvm", kDeleteSized},
    {"_ZdaPvmSt11align_val_t", kDeleteSized},
    // jemalloc's own interface, and its names when linked into a program (also Rust's).
    {"mallocx", kMalloc},
    {"rallocx", kRealloc},
    {"dallocx", kFree},
    {"sdallocx", kDeleteSized},
    {"je_malloc", kMalloc},
    {"je_calloc", kCalloc},
    {"je_realloc", kRealloc},
    {"je_aligned_alloc", kMemalign},
    {"je_memalign", kMemalign},
    {"je_posix_memalign", kPosixMemalign},
    {"je_free", kFree},
    {"je_mallocx", kMalloc},
    {"je_rallocx", kRealloc},
    {"je_dallocx", kFree},
    {"je_sdallocx", kDeleteSized},
    {"_rjem_malloc", kMalloc},
    {"_rjem_calloc", kCalloc},
    {"_rjem_realloc", kRealloc},
    {"_rjem_mallocx", kMalloc},
    {"_rjem_rallocx", kRealloc},
    {"_rjem_sdallocx", kDeleteSized},
    // mimalloc's and gperftools' own.
    {"mi_malloc", kMalloc},
    {"mi_calloc", kCalloc},
    {"mi_realloc", kRealloc},
    {"mi_malloc_aligned", kValloc},
    {"mi_realloc_aligned", kRealloc},
    {"mi_free", kFree},
    {"tc_malloc", kMalloc},
    {"tc_calloc", kCalloc},
    {"tc_realloc", kRealloc},
    {"tc_memalign", kMemalign},
    {"tc_posix_memalign", kPosixMemalign},
    {"tc_free", kFree},
    // Static glibc and musl keep these beside the public names.
    {"__libc_malloc", kMalloc},
    {"__libc_calloc", kCalloc},
    {"__libc_realloc", kRealloc},
    {"__libc_reallocarray", kReallocArray},
    {"__libc_memalign", kMemalign},
    {"__libc_free", kFree},
};

constexpr const char* kRegisterNames[kRegisters] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                    "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                    "r12", "r13", "r14", "r15"};
constexpr const char* kRoleNames[kArgumentRoles] = {"pointer", "count", "size"};

}  // namespace

const char* NameOf(Register place) { return kRegisterNames[static_cast<size_t>(place)]; }
const char* NameOf(ArgumentRole role) { return kRoleNames[static_cast<size_t>(role)]; }
const CallSignature& SignatureOf(AllocatorCall call) {
  return kSignatures[static_cast<size_t>(call)];
}
std::span<const AllocatorSymbol> AllocatorSymbols() { return kSymbols; }
bool IsAllocatorSymbol(std::string_view name) {
  return std::ranges::find(kSymbols, name, &AllocatorSymbol::name) != std::end(kSymbols);
}

}  // namespace hotpath
