// Errors as values: what went wrong, doing what, to what.
#pragma once

#include <cerrno>
#include <cstring>
#include <expected>
#include <string>
#include <utility>

namespace hotpath {

// Who has to act on an error.
enum class ErrorCode {
  kInvalidArgument,  // The user's: a flag, a request, a file that is no profile.
  kNotFound,         // A process, file or function that is not there.
  kPermission,       // A capability or sysctl is missing.
  kUnsupported,      // This kernel or build cannot do it.
  kMalformed,        // Foreign bytes that break their format's rules.
  kTooLarge,         // Past a stated bound.
  kBusy,             // A limit on concurrent work is reached; try later.
  kTimeout,          // Took longer than its stated limit.
  kUnavailable,      // The other side is gone: child, daemon, ring buffer.
  kSystem,           // A system call failed; the message holds errno's text.
};

struct Error {
  ErrorCode code;
  std::string message;  // "open /proc/12/exe: Permission denied"; no newline, no full stop.
};

template <typename T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> Fail(ErrorCode code, std::string message) {
  return std::unexpected(Error{code, std::move(message)});
}

// `doing` names the call and its object: FailErrno("open " + path).
inline std::unexpected<Error> FailErrno(const std::string& doing, int error_number = errno) {
  ErrorCode code = ErrorCode::kSystem;
  if (error_number == EPERM || error_number == EACCES) code = ErrorCode::kPermission;
  if (error_number == ENOENT || error_number == ESRCH) code = ErrorCode::kNotFound;
  return Fail(code, doing + ": " + std::strerror(error_number));
}

}  // namespace hotpath
