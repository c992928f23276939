// What a function's DIE calls it: the linkage name, or one made of its scopes.
#pragma once

#include <elfutils/libdw.h>

#include <string>
#include <string_view>
#include <unordered_map>

namespace hotpath {

// Names of one file's functions, each made once. One thread.
class DwarfNames {
 public:
  // `die`: a function or an inlined call of `unit`. The linkage name where DWARF has one; else the
  // plain name, for C++ behind its scopes: compilers leave linkage names out for lambdas and
  // functions of anonymous namespaces ("(anonymous namespace)::Hidden",
  // "Holder::First::{lambda}::operator()"). Empty when the DIE has no name.
  const std::string& Of(Dwarf_Die* unit, Dwarf_Die* die);

 private:
  static constexpr size_t kMaxNames = 100'000;  // Kept; then all are dropped.

  std::unordered_map<Dwarf_Off, std::string> names_;  // By the offset of the origin's DIE.
};

// "Second<long>" is "Second", "operator< <int>" is "operator<".
std::string_view WithoutTemplateArguments(std::string_view name);

// The attribute's text, at most 16 KiB, through abstract origins and specifications; else empty.
std::string StringAttribute(Dwarf_Die* die, unsigned attribute);

}  // namespace hotpath
