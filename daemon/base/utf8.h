// Makes foreign bytes (thread names, paths) into text that protobuf and Prometheus accept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hotpath {

// Length of the valid UTF-8 sequence that `text` begins with; 0 when it begins with none. Overlong
// forms, surrogates and code points past U+10FFFF are not valid.
constexpr size_t Utf8SequenceLength(std::string_view text) {
  if (text.empty()) return 0;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (byte(0) < 0x80) return 1;
  const size_t length = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  if (byte(0) == 0xe0 && byte(1) < 0xa0) return 0;  // Overlong.
  if (byte(0) == 0xed && byte(1) > 0x9f) return 0;  // A surrogate.
  if (byte(0) == 0xf0 && byte(1) < 0x90) return 0;  // Overlong.
  if (byte(0) == 0xf4 && byte(1) > 0x8f) return 0;  // Past U+10FFFF.
  return length;
}

constexpr bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = Utf8SequenceLength(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

// `text` with each byte that belongs to no valid sequence replaced by U+FFFD.
inline std::string ToUtf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const size_t length = Utf8SequenceLength(text);
    valid += length == 0 ? std::string_view("\xef\xbf\xbd") : text.substr(0, length);
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return valid;
}

}  // namespace hotpath
