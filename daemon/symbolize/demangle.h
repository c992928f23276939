// From linker names to the short names people read in a profile.
#pragma once

#include <string>
#include <string_view>

namespace hotpath {

struct Demangled {
  // Without parameters, return type, template arguments, ABI tags, clone suffix and symbol version:
  // "std::vector::push_back", "main::{lambda#1}::operator()", "memcpy@plt".
  std::string name;
  bool mangled = false;  // It was a C++ or Rust mangled name that could be read.
};

// C++ (Itanium) through LLVM's parser, Rust (v0 and legacy) through ours; all else is returned as
// it is, except that a compiler's clone suffix (".part.0", ".cold") and a symbol's version
// ("@@GLIBC_2.14") are dropped, so that one function is one row. "@plt" is kept.
//
// Names are foreign: input is read up to kMaxMangledBytes and the result is at most kMaxNameBytes;
// template arguments are never expanded, so a small name cannot print a huge one. Costs about 1 us;
// callers cache.
Demangled Demangle(std::string_view mangled);

inline constexpr size_t kMaxMangledBytes = 4096;  // Longer names are cut, not demangled.
inline constexpr size_t kMaxNameBytes = 1024;

// `name` without ".cold", ".part.3", ".isra.0", ".constprop.0", ".lto_priv.0", ".llvm.123" and
// their combinations, and without "@VERSION". Never empty unless `name` is.
std::string_view StripCloneSuffix(std::string_view name);

}  // namespace hotpath
