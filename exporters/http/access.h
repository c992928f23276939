// Who may ask: the bearer token of TCP clients, and the Host names of loopback.
#pragma once

#include <string>
#include <string_view>

#include "daemon/base/result.h"

namespace hotpath {

// The secret that TCP clients show in "Authorization: Bearer SECRET".
class BearerToken {
 public:
  static constexpr size_t kMinBytes = 16;

  // Reads one line; white space around it does not count.
  // Errors: FailErrno's; kInvalidArgument when it is shorter than 16 bytes, longer than 4096, or
  // holds white space.
  static Result<BearerToken> FromFile(const std::string& path);

  // Takes as long for a wrong guess as for a right one of the same length.
  bool Allows(std::string_view authorization) const;

 private:
  explicit BearerToken(std::string secret) : secret_(std::move(secret)) {}
  std::string secret_;
};

// True for "localhost", "127.*" and "[::1]", with or without a port, and for no Host at all. A web
// page whose name an attacker points at 127.0.0.1 shows its own name here.
bool IsLoopbackHost(std::string_view host);

}  // namespace hotpath
