// Rust's v0 mangling: "_RNvCs1234_7mycrate3foo".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hotpath {

// The path without generic arguments and crate hashes: "alloc::vec::Vec::push",
// "<a::Foo as core::iter::Iterator>::next", "a::main::{closure#0}". At most about `max_bytes` long.
// nullopt when `mangled` is no such name. Bounded in depth and steps, whatever the input.
std::optional<std::string> DemangleRustV0(std::string_view mangled, size_t max_bytes);

}  // namespace hotpath
