// Which mangling a name is in, and the suffixes that compilers and linkers put behind it.
#include "daemon/symbolize/demangle.h"

#include <array>
#include <optional>
#include <utility>

#include "daemon/symbolize/cxx_name.h"
#include "daemon/symbolize/rust_legacy.h"
#include "daemon/symbolize/rust_v0.h"

namespace hotpath {
namespace {

bool IsNumber(std::string_view text) {
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
  }
  return !text.empty();
}

std::string Cut(std::string name) {
  if (name.size() > kMaxNameBytes) name.replace(kMaxNameBytes - 3, std::string::npos, "...");
  return name;
}

}  // namespace

std::string_view StripCloneSuffix(std::string_view name) {
  static constexpr std::array<std::string_view, 7> kNumbered = {
      "part", "isra", "constprop", "lto_priv", "llvm", "__uniq", "cold"};
  if (const size_t at = name.find('@'); at != std::string_view::npos && at > 0) {
    name = name.substr(0, at);
  }
  // Everywhere: gcc's cold half, its alias, Go's entry for assembly. Behind mangled names alone:
  // coroutines, whose ramp and parts are one function of the source.
  static constexpr std::array<std::string_view, 7> kBare = {
      "cold", "localalias", "abi0", "actor", "destroy", "resume", "cleanup"};
  const bool is_mangled = name.starts_with("_Z") || name.starts_with("_R");
  while (true) {
    const size_t dot = name.rfind('.');
    if (dot == std::string_view::npos || dot == 0) return name;
    const std::string_view last = name.substr(dot + 1);
    bool stripped = false;
    for (size_t i = 0; i < kBare.size() && !stripped; ++i) {
      stripped = last == kBare.at(i) && (i < 3 || is_mangled);
    }
    if (!stripped && IsNumber(last)) {
      const size_t before = name.rfind('.', dot - 1);
      if (before != std::string_view::npos && before > 0) {
        const std::string_view word = name.substr(before + 1, dot - before - 1);
        for (const std::string_view known : kNumbered) {
          if (word == known) {
            name = name.substr(0, before);
            stripped = true;
            break;
          }
        }
        if (stripped) continue;
      }
    }
    if (!stripped) return name;
    name = name.substr(0, dot);
  }
}

Demangled Demangle(std::string_view mangled) {
  const std::string_view plt = mangled.ends_with("@plt") ? "@plt" : "";
  const std::string_view base = StripCloneSuffix(mangled);
  if (base.size() > kMaxMangledBytes) return {Cut(std::string(base)), false};
  std::optional<std::string> name = DemangleRustV0(base, kMaxNameBytes);
  if (!name) name = DemangleRustLegacy(base, kMaxNameBytes);
  if (!name) name = DemangleCxx(base, kMaxNameBytes);
  if (name) return {Cut(*std::move(name)).append(plt), true};
  return {Cut(std::string(base)).append(plt), false};
}

}  // namespace hotpath
