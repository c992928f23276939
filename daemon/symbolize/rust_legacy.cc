// The escapes of Rust's legacy mangling, which is a C++ name with a hash at its end.
#include "daemon/symbolize/rust_legacy.h"

#include <array>
#include <charconv>
#include <cstdint>

namespace hotpath {
namespace {

constexpr size_t kHashBytes = 20;  // "17h0123456789abcdefE" ends a legacy name.

bool IsHex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }
bool IsIdentifier(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

// One "$XX$" escape of the legacy scheme at the start of `text`; advances it.
bool LegacyEscape(std::string_view* text, std::string* out) {
  struct Escape {
    std::string_view code;
    char character;
  };
  static constexpr std::array<Escape, 8> kEscapes = {{{"SP", '@'},
                                                      {"BP", '*'},
                                                      {"RF", '&'},
                                                      {"LT", '<'},
                                                      {"GT", '>'},
                                                      {"LP", '('},
                                                      {"RP", ')'},
                                                      {"C", ','}}};
  const size_t end = text->find('$', 1);
  if (end == std::string_view::npos) return false;
  const std::string_view code = text->substr(1, end - 1);
  bool known = false;
  for (const Escape& escape : kEscapes) {
    if (code == escape.code) {
      *out += escape.character;
      known = true;
    }
  }
  if (!known && code.size() >= 2 && code[0] == 'u') {
    uint32_t value = 0;
    const auto [rest, error] =
        std::from_chars(code.data() + 1, code.data() + code.size(), value, 16);
    if (error == std::errc() && rest == code.data() + code.size() && value >= 0x20 &&
        value < 0x7f) {
      *out += static_cast<char>(value);
      known = true;
    }
  }
  if (known) text->remove_prefix(end + 1);
  return known;
}

void AppendLegacyIdentifier(std::string_view text, std::string* out) {
  if (text.starts_with("_$")) text.remove_prefix(1);  // Only there to begin like an identifier.
  while (!text.empty()) {
    if (text[0] == '$' && LegacyEscape(&text, out)) continue;
    if (text.starts_with("..")) {
      *out += "::";
      text.remove_prefix(2);
    } else {
      *out += text[0];
      text.remove_prefix(1);
    }
  }
}

// Drops "<...>" where it follows a name: "Vec<T,A>::push" is "Vec::push", "<Vec<T> as Drop>::drop"
// is "<Vec as Drop>::drop".
std::string WithoutGenerics(std::string_view text) {
  std::string out;
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool arrow = c == '>' && i > 0 && text[i - 1] == '-';
    if (depth > 0) {
      if (c == '<') ++depth;
      if (c == '>' && !arrow) --depth;
    } else if (c == '<' && !out.empty() && (IsIdentifier(out.back()) || out.ends_with("::"))) {
      if (out.ends_with("::") && text.substr(i).starts_with("<impl ")) {
        out += c;  // "core::fmt::<impl Debug for u8>::fmt" names the impl itself.
        continue;
      }
      if (out.ends_with("::")) out.resize(out.size() - 2);
      depth = 1;
    } else {
      out += c;
    }
  }
  return depth == 0 ? out : std::string(text);
}

}  // namespace

bool IsRustLegacy(std::string_view mangled) {
  if (!mangled.starts_with("_ZN") || mangled.size() < 3 + kHashBytes) return false;
  const std::string_view tail = mangled.substr(mangled.size() - kHashBytes);
  if (!tail.starts_with("17h") || tail.back() != 'E') return false;
  for (const char c : tail.substr(3, 16)) {
    if (!IsHex(c)) return false;
  }
  return true;
}

std::optional<std::string> DemangleRustLegacy(std::string_view mangled, size_t max_bytes) {
  if (!IsRustLegacy(mangled)) return std::nullopt;
  std::string_view text = mangled.substr(3);  // After "_ZN".
  text.remove_suffix(kHashBytes);
  std::string out;
  while (!text.empty()) {
    size_t length = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), length);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(rest - text.data()));
    if (length == 0 || length > text.size()) return std::nullopt;
    if (!out.empty()) out += "::";
    AppendLegacyIdentifier(text.substr(0, length), &out);
    text.remove_prefix(length);
  }
  if (out.empty()) return std::nullopt;
  out = WithoutGenerics(out);
  if (out.size() > max_bytes) out.resize(max_bytes);
  return out;
}

}  // namespace hotpath
