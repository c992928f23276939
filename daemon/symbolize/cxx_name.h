// C++ names in the Itanium mangling: "_ZN3foo3barEi".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hotpath {

// Scopes and name alone: "foo::bar", "std::vector::push_back", "A::operator bool",
// "main::{lambda#1}::operator()", "(anonymous namespace)::work". Somewhat over `max_bytes` at most.
// nullopt when `mangled` is no such name, or nested deeper than any compiler writes.
std::optional<std::string> DemangleCxx(std::string_view mangled, size_t max_bytes);

}  // namespace hotpath
