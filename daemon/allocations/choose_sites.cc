// Each allocating call, once.
#include "daemon/allocations/choose_sites.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>

namespace hotpath {
namespace {

constexpr uint8_t kMallocAlignment = 16;  // Of malloc on x86-64, and so the ABI's.

// DWARF numbers of the registers that hold arguments; empty for others.
std::optional<uint8_t> DwarfNumber(Register place) {
  switch (place) {
    case Register::kRdx:
      return uint8_t{1};
    case Register::kRcx:
      return uint8_t{2};
    case Register::kRsi:
      return uint8_t{4};
    case Register::kRdi:
      return uint8_t{5};
    case Register::kR8:
      return uint8_t{8};
    default:
      return std::nullopt;
  }
}

std::optional<uint8_t> Find(const ProbeSite& site, ArgumentRole role) {
  const auto found = std::ranges::find(site.arguments, role, &ProbeArgument::role);
  return found == site.arguments.end() ? std::nullopt : DwarfNumber(found->place);
}

bool Allocates(AllocatorCall call) { return !SignatureOf(call).frees; }

bool Cheap(const ProbeSite& site) {
  return site.probe_class == ProbeClass::kEmulated || site.probe_class == ProbeClass::kNop;
}

bool EntersChosen(const ProbedFunction& function, const std::set<std::string>& names) {
  return std::ranges::any_of(function.enters, [&](const std::string& entered) {
    return names.contains(entered) && entered != function.name;
  });
}

// How calls that another probe counts are known; false: they cannot be told from the others.
bool SkipPassedOn(const ProbedFunction& function, AllocSite& site) {
  switch (function.call) {
    case AllocatorCall::kRealloc:
      site.skip_register = Find(function.site, ArgumentRole::kPointer);
      return site.skip_register.has_value();
    case AllocatorCall::kMemalign:
    case AllocatorCall::kPosixMemalign:
      // The alignment is the first argument of the one and the second of the other.
      if (!function.site.at_entry) return false;
      site.skip_register =
          DwarfNumber(function.call == AllocatorCall::kMemalign ? Register::kRdi : Register::kRsi);
      site.skip_up_to = kMallocAlignment;
      return true;
    default:
      return false;
  }
}

std::optional<AllocSite> SiteOf(const ProbeSite& place) {
  const std::optional<uint8_t> size = Find(place, ArgumentRole::kSize);
  if (!size) return std::nullopt;
  AllocSite site;
  site.offset = place.offset;
  site.size_register = *size;
  site.by_register = Find(place, ArgumentRole::kCount);
  return site;
}

}  // namespace

ChosenSites ChooseAllocSites(const Placement& placement) {
  std::set<std::string> names;
  for (const ProbedFunction& function : placement.functions) {
    if (!Allocates(function.call) || !Cheap(function.site)) continue;
    names.insert(function.name);
    names.insert(function.aliases.begin(), function.aliases.end());
  }
  ChosenSites chosen;
  for (const ProbedFunction& function : placement.functions) {
    if (!Allocates(function.call) || !Cheap(function.site)) continue;
    std::optional<AllocSite> site = SiteOf(function.site);
    if (!site) continue;
    if (EntersChosen(function, names) && !SkipPassedOn(function, *site)) continue;
    std::optional<AllocSite> second;
    // Both must mean the same registers, or a call might be skipped at one and not at the other.
    if (function.second && Cheap(*function.second) &&
        function.second->arguments == function.site.arguments && !site->skip_register) {
      second = site;
      second->offset = function.second->offset;
      second->role = AllocSite::Role::kSecond;
    }
    site->role = second ? AllocSite::Role::kFirst : AllocSite::Role::kOnly;
    chosen.functions.push_back(&function);
    chosen.sites.push_back(*site);
    if (second) chosen.sites.push_back(*second);
  }
  return chosen;
}

}  // namespace hotpath
