// Uprobes on several places of one file at once: the kernel's uprobe_multi link (6.6).
#pragma once

#include <cstdint>
#include <span>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"

namespace hotpath {

struct UprobeSite {
  uint64_t offset = 0;  // In the file, of the first byte of an instruction.
  uint64_t cookie = 0;  // What the program gets to know of it.
};

// Runs `program_fd` whenever process `pid` (a thread group; 0: any) comes to one of `sites` of the
// file that `file_fd` has open, from now until the descriptor is closed. The caller answers for the
// offsets: one that is not an instruction's first byte breaks the process.
//
// Attaching waits for a grace period of the kernel (some ms) unless another attach or close has
// just done so. Closing takes the breakpoints out at once, then waits for some 20 to 70 ms.
// Errors: kPermission, kUnsupported (kernel before 6.6), kNotFound (no such process), kSystem.
Result<Fd> AttachUprobes(int program_fd, int file_fd, uint32_t pid,
                         std::span<const UprobeSite> sites);

// As AttachUprobes, at one place in this program itself.
Result<Fd> AttachUprobeToSelf(int program_fd, const void* function);

}  // namespace hotpath
