// Which compilation unit and which function of a file's DWARF an address belongs to.
#pragma once

#include <elfutils/libdw.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace hotpath {

// Address ranges of units and of the functions in them, read when first asked for: files without
// .debug_aranges (clang, rustc) are looked up as fast as others, and a unit's functions are walked
// once, not once an address. One thread. Borrows the Dwarf.
class DwarfUnits {
 public:
  static constexpr size_t kMaxRanges = 16'000'000;
  static constexpr size_t kMaxEntriesPerUnit = 20'000'000;
  static constexpr size_t kMaxDepth = 256;

  explicit DwarfUnits(Dwarf* dwarf) : dwarf_(dwarf) {}

  // The DIE of the unit that covers `address`.
  std::optional<Dwarf_Die> FindUnit(uint64_t address);
  // The DW_TAG_subprogram of `unit` that covers `address`: the smallest, where several do.
  std::optional<Dwarf_Die> FindFunction(Dwarf_Die unit, uint64_t address);

 private:
  struct Range {
    uint64_t begin, end;
    Dwarf_Off die;
  };
  using Ranges = std::vector<Range>;  // Sorted by begin; may overlap.

  void ReadUnits();
  static void AddRanges(Dwarf_Die die, Ranges* ranges);
  static Ranges ReadFunctions(Dwarf_Die unit);
  static const Range* Smallest(const Ranges& ranges, uint64_t address);

  Dwarf* dwarf_;
  bool units_read_ = false;
  Ranges units_;
  std::unordered_map<Dwarf_Off, Ranges> functions_;  // By the unit's DIE.
};

}  // namespace hotpath
