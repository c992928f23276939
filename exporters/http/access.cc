// Who may ask: the bearer token of TCP clients, and the Host names of loopback.
#include "exporters/http/access.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "daemon/base/fd.h"

namespace hotpath {
namespace {

constexpr size_t kMaxTokenBytes = 4096;

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string_view Trim(std::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

bool EqualIgnoringCase(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

}  // namespace

Result<BearerToken> BearerToken::FromFile(const std::string& path) {
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return FailErrno("token_file: open " + path);
  std::array<char, kMaxTokenBytes + 1> buffer;
  size_t size = 0;
  for (;;) {
    const ssize_t count = ::read(file.get(), buffer.data() + size, buffer.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FailErrno("token_file: read " + path);
    if (count == 0) break;
    size += static_cast<size_t>(count);
    if (size == buffer.size()) break;
  }
  const std::string_view secret = Trim({buffer.data(), size});
  if (size > kMaxTokenBytes || secret.size() < kMinBytes || std::ranges::any_of(secret, IsSpace)) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("token_file: {} must hold one word of {} to {} bytes; make one with "
                            "'openssl rand -hex 32'",
                            path, kMinBytes, kMaxTokenBytes));
  }
  return BearerToken(std::string(secret));
}

bool BearerToken::Allows(std::string_view authorization) const {
  constexpr std::string_view kScheme = "bearer ";
  if (!EqualIgnoringCase(authorization.substr(0, kScheme.size()), kScheme)) return false;
  const std::string_view shown = Trim(authorization.substr(kScheme.size()));
  // Every byte is looked at, whatever the ones before it were.
  unsigned difference = shown.size() == secret_.size() ? 0 : 1;
  for (size_t i = 0; i < shown.size(); ++i) {
    const auto expected = static_cast<unsigned char>(secret_[i % secret_.size()]);
    difference |= static_cast<unsigned char>(shown[i]) ^ unsigned { expected };
  }
  return difference == 0;
}

bool IsLoopbackHost(std::string_view host) {
  host = Trim(host);
  if (host.empty()) return true;
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    const std::string_view rest = end == std::string_view::npos ? "x" : host.substr(end + 1);
    return host.substr(1, end - 1) == "::1" && (rest.empty() || rest.starts_with(':'));
  }
  const std::string name(host.substr(0, host.find(':')));
  if (EqualIgnoringCase(name, "localhost")) return true;
  in_addr address{};
  return name.starts_with("127.") && ::inet_pton(AF_INET, name.c_str(), &address) == 1;
}

}  // namespace hotpath
