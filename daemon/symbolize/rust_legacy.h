// Rust's legacy mangling: "_ZN4core3fmt9Formatter3pad17h0123456789abcdefE".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hotpath {

// Whether an Itanium-looking name ends with Rust's hash ("17h", 16 hex digits, "E").
bool IsRustLegacy(std::string_view mangled);

// The path without generic arguments and hash: "alloc::vec::Vec::push". At most `max_bytes` long.
// nullopt when `mangled` is no such name.
std::optional<std::string> DemangleRustLegacy(std::string_view mangled, size_t max_bytes);

}  // namespace hotpath
