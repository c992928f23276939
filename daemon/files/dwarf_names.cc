// Reads function names with libdw.
#include "daemon/files/dwarf_names.h"

#include <dwarf.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

namespace hotpath {
namespace {

constexpr size_t kMaxTextBytes = 16 * 1024;
constexpr int kMaxOrigins = 16;
constexpr int kMaxScopes = 64;

bool IsCxx(Dwarf_Die* unit) {
  switch (dwarf_srclang(unit)) {
    case DW_LANG_C_plus_plus:
    case DW_LANG_C_plus_plus_03:
    case DW_LANG_C_plus_plus_11:
    case DW_LANG_C_plus_plus_14:
      return true;
    default:
      return false;
  }
}

// The declaration that `die` is an instance of.
Dwarf_Die OriginOf(Dwarf_Die die) {
  for (int i = 0; i < kMaxOrigins; ++i) {
    Dwarf_Attribute attribute;
    Dwarf_Die next;
    if (dwarf_attr(&die, DW_AT_abstract_origin, &attribute) == nullptr &&
        dwarf_attr(&die, DW_AT_specification, &attribute) == nullptr) {
      return die;
    }
    if (dwarf_formref_die(&attribute, &next) == nullptr) return die;
    die = next;
  }
  return die;
}

// What a scope adds to the names inside it; empty when nothing.
std::string ScopeName(Dwarf_Die* scope) {
  const std::string name = StringAttribute(scope, DW_AT_name);
  switch (dwarf_tag(scope)) {
    case DW_TAG_namespace:
      return name.empty() ? "(anonymous namespace)" : name;
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
      if (name.empty() || name.starts_with("<lambda") || name.starts_with("._anon")) {
        return "{lambda}";
      }
      return std::string(WithoutTemplateArguments(name));
    case DW_TAG_subprogram:
      return std::string(WithoutTemplateArguments(name));
    default:
      return {};
  }
}

std::string ScopedName(Dwarf_Die* die, const std::string& name) {
  Dwarf_Die* found = nullptr;
  const int count = dwarf_getscopes_die(die, &found);  // From the DIE outwards.
  const std::unique_ptr<Dwarf_Die, decltype(&std::free)> scopes(found, &std::free);
  std::string scoped;
  for (int i = std::min(count, kMaxScopes) - 1; i > 0; --i) {
    Dwarf_Die scope = OriginOf(scopes.get()[i]);
    const std::string text = ScopeName(&scope);
    if (text.empty()) continue;
    // A member function defined outside its class stands in no scope, but its declaration does.
    if (dwarf_tag(&scope) == DW_TAG_subprogram && scoped.empty() &&
        dwarf_dieoffset(&scope) != dwarf_dieoffset(&scopes.get()[i])) {
      scoped = ScopedName(&scope, text) + "::";
      continue;
    }
    scoped += text + "::";
    if (scoped.size() > kMaxTextBytes) break;
  }
  scoped += WithoutTemplateArguments(name);
  return scoped;
}

}  // namespace

std::string StringAttribute(Dwarf_Die* die, unsigned name) {
  Dwarf_Attribute attribute;
  if (dwarf_attr_integrate(die, name, &attribute) == nullptr) return {};
  const char* text = dwarf_formstring(&attribute);
  return text == nullptr ? std::string() : std::string(text, strnlen(text, kMaxTextBytes));
}

std::string_view WithoutTemplateArguments(std::string_view name) {
  // The operators that hold '<' or '>' themselves, longest first.
  static constexpr std::array<std::string_view, 10> kOperators = {
      "operator<<=", "operator>>=", "operator<=>", "operator<<", "operator>>",
      "operator<=",  "operator>=",  "operator->",  "operator<",  "operator>"};
  size_t from = 0;
  for (const std::string_view text : kOperators) {
    if (name.starts_with(text)) {
      from = text.size();
      break;
    }
  }
  size_t at = name.find('<', from);
  if (at == std::string_view::npos || at == 0) return name;
  while (at > 1 && name[at - 1] == ' ') --at;
  return name.substr(0, at);
}

const std::string& DwarfNames::Of(Dwarf_Die* unit, Dwarf_Die* die) {
  Dwarf_Die origin = OriginOf(*die);
  if (names_.size() >= kMaxNames) names_.clear();
  const auto [entry, is_new] = names_.try_emplace(dwarf_dieoffset(&origin));
  if (!is_new) return entry->second;
  for (const unsigned attribute : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name}) {
    entry->second = StringAttribute(die, attribute);
    if (!entry->second.empty()) return entry->second;
  }
  entry->second = StringAttribute(die, DW_AT_name);
  if (!entry->second.empty() && IsCxx(unit)) entry->second = ScopedName(&origin, entry->second);
  return entry->second;
}

}  // namespace hotpath
