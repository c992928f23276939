// What the file worker's child gives up before it reads the first foreign byte.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "daemon/base/result.h"

namespace hotpath {

// A sanitizer's runtime reserves terabytes of addresses, so such builds have no memory limits.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitizedBuild = true;
#else
inline constexpr bool kSanitizedBuild = false;
#endif

struct SandboxLimits {
  uint64_t memory_bytes = uint64_t{1} << 30;  // Address space (RLIMIT_AS and RLIMIT_DATA).
  uint64_t output_bytes = uint64_t{1} << 29;  // Largest file it may write (RLIMIT_FSIZE).
};

// Takes from the calling process, for ever: privileges to gain by exec, every capability (and the
// bounding set, where CAP_SETPCAP allows it), its user and groups (nobody, where CAP_SETUID allows
// it), core dumps, new files, memory past `limits`; then loads the seccomp filter, under which it
// may read, write and map memory, and talk over the sockets it has. Opening or naming a file fails
// with EACCES, as libraries try that on their own (libdw looks for .dwo files); every other system
// call, such as socket, execve, clone or memfd_create, kills the process with SIGSYS.
//
// It needs no privilege: what cannot be dropped without one was never held, except the user id.
// PR_SET_PDEATHSIG is not used: it fires when the *thread* that forked ends. The child instead sets
// an alarm for each request and leaves when its socket closes.
//
// One thread, early in the process. Errors: kSystem, naming the step; the caller must then exit.
Result<void> EnterSandbox(const SandboxLimits& limits);

// Closes every descriptor above `last_kept`. Errors: kSystem.
Result<void> CloseOtherDescriptors(int last_kept);

}  // namespace hotpath
