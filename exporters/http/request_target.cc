// The target of a request line: a path and a query, decoded.
#include "exporters/http/request_target.h"

#include <fmt/format.h>

#include <optional>

namespace hotpath {
namespace {

constexpr size_t kMaxPairs = 100;

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// nullopt: a broken escape, or a NUL byte.
std::optional<std::string> Decode(std::string_view text, bool plus_is_space) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '+' && plus_is_space) c = ' ';
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = HexValue(text[i + 1]);
      const int low = HexValue(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return std::nullopt;
    decoded += c;
  }
  return decoded;
}

}  // namespace

Result<RequestTarget> ParseRequestTarget(std::string_view target) {
  target = target.substr(0, target.find('#'));
  if (!target.starts_with('/')) {
    return Fail(ErrorCode::kMalformed, "request target: does not begin with '/'");
  }
  const size_t mark = target.find('?');
  std::optional<std::string> path = Decode(target.substr(0, mark), false);
  if (!path) return Fail(ErrorCode::kMalformed, "request path: broken % escape");
  RequestTarget parsed{.path = std::move(*path), .query = {}};

  std::string_view rest =
      mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
  while (!rest.empty()) {
    const size_t end = rest.find('&');
    const std::string_view pair = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (pair.empty()) continue;
    if (parsed.query.size() == kMaxPairs) {
      return Fail(ErrorCode::kTooLarge, fmt::format("query: more than {} parameters", kMaxPairs));
    }
    const size_t equals = pair.find('=');
    std::optional<std::string> key = Decode(pair.substr(0, equals), true);
    std::optional<std::string> value =
        equals == std::string_view::npos ? std::string() : Decode(pair.substr(equals + 1), true);
    if (!key || !value) return Fail(ErrorCode::kMalformed, "query: broken % escape");
    parsed.query.emplace_back(std::move(*key), std::move(*value));
  }
  return parsed;
}

}  // namespace hotpath
