// Walks units and functions of DWARF with libdw, within bounds.
#include "daemon/files/dwarf_units.h"

#include <dwarf.h>

#include <algorithm>

namespace hotpath {
namespace {

// How many ranges before an address are tried, for those that overlap.
constexpr size_t kMaxOverlaps = 64;

// What can hold functions: everything but types and variables without members.
bool CanHoldFunctions(int tag) {
  switch (tag) {
    case DW_TAG_subprogram:
    case DW_TAG_lexical_block:
    case DW_TAG_namespace:
    case DW_TAG_module:
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
    case DW_TAG_enumeration_type:
    case DW_TAG_inlined_subroutine:
    case DW_TAG_imported_unit:
      return true;
    default:
      return false;
  }
}

}  // namespace

void DwarfUnits::AddRanges(Dwarf_Die die, Ranges* ranges) {
  Dwarf_Addr base = 0, begin = 0, end = 0;
  ptrdiff_t at = 0;
  const Dwarf_Off offset = dwarf_dieoffset(&die);
  while (ranges->size() < kMaxRanges) {
    const ptrdiff_t next = dwarf_ranges(&die, at, &base, &begin, &end);
    if (next <= 0) break;
    // Linkers leave code that they dropped at address 0.
    if (begin != 0 && begin < end) ranges->push_back({begin, end, offset});
    at = next;
  }
}

void DwarfUnits::ReadUnits() {
  units_read_ = true;
  Dwarf_CU* unit = nullptr;
  Dwarf_Half version = 0;
  uint8_t type = 0;
  Dwarf_Die die, sub_die;
  while (dwarf_get_units(dwarf_, unit, &unit, &version, &type, &die, &sub_die) == 0) {
    if (type != DW_UT_compile && type != DW_UT_skeleton) continue;
    if (dwarf_tag(&die) == DW_TAG_partial_unit) continue;
    AddRanges(die, &units_);
  }
  std::sort(units_.begin(), units_.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
}

DwarfUnits::Ranges DwarfUnits::ReadFunctions(Dwarf_Die unit) {
  Ranges ranges;
  std::vector<Dwarf_Die> parents;  // From the unit down to the current DIE's parent.
  Dwarf_Die die;
  if (dwarf_child(&unit, &die) != 0) return ranges;
  for (size_t entries = 0; entries < kMaxEntriesPerUnit; ++entries) {
    const int tag = dwarf_tag(&die);
    if (tag == DW_TAG_subprogram) AddRanges(die, &ranges);
    Dwarf_Die child;
    if (CanHoldFunctions(tag) && parents.size() < kMaxDepth && dwarf_child(&die, &child) == 0) {
      parents.push_back(die);
      die = child;
      continue;
    }
    Dwarf_Die sibling;
    int status = dwarf_siblingof(&die, &sibling);
    while (status != 0 && !parents.empty()) {
      die = parents.back();
      parents.pop_back();
      status = dwarf_siblingof(&die, &sibling);
    }
    if (status != 0) break;
    die = sibling;
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  return ranges;
}

const DwarfUnits::Range* DwarfUnits::Smallest(const Ranges& ranges, uint64_t address) {
  auto after =
      std::upper_bound(ranges.begin(), ranges.end(), address,
                       [](uint64_t value, const Range& range) { return value < range.begin; });
  const Range* best = nullptr;
  for (size_t tried = 0; after != ranges.begin() && tried < kMaxOverlaps; ++tried) {
    --after;
    if (address >= after->end) continue;
    if (best == nullptr || after->end - after->begin < best->end - best->begin) best = &*after;
  }
  return best;
}

std::optional<Dwarf_Die> DwarfUnits::FindUnit(uint64_t address) {
  if (!units_read_) ReadUnits();
  const Range* range = Smallest(units_, address);
  Dwarf_Die die;
  if (range == nullptr || dwarf_offdie(dwarf_, range->die, &die) == nullptr) return std::nullopt;
  return die;
}

std::optional<Dwarf_Die> DwarfUnits::FindFunction(Dwarf_Die unit, uint64_t address) {
  const auto [entry, is_new] = functions_.try_emplace(dwarf_dieoffset(&unit));
  if (is_new) entry->second = ReadFunctions(unit);
  const Range* range = Smallest(entry->second, address);
  Dwarf_Die die;
  if (range == nullptr || dwarf_offdie(dwarf_, range->die, &die) == nullptr) return std::nullopt;
  return die;
}

}  // namespace hotpath
