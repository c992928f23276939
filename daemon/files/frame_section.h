// Finds the functions (FDEs) of a .eh_frame or .debug_frame section.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/files/cfi.h"
#include "daemon/files/elf_file.h"

namespace hotpath {

// One FDE: a function, and where in its section the instructions of its rules are.
struct FrameFunction {
  uint64_t address;  // ELF virtual address.
  uint64_t bytes;    // Never 0; address + bytes does not wrap around.
  uint32_t instructions_begin, instructions_end;
  uint32_t cie;  // Index into the section's CIEs.
};

// A section's bytes with its CIEs. Built by one of the two factories; not shared by threads.
class FrameSection {
 public:
  static constexpr uint64_t kMaxBytes = uint64_t{256} << 20;
  static constexpr size_t kMaxCies = 65'536;

  // The section, or what PT_GNU_EH_FRAME leads to when no section of the name can be read.
  // Errors: kNotFound when there is neither; kMalformed; kTooLarge past kMaxBytes.
  static Result<FrameSection> EhFrame(const ElfFile& elf);
  static Result<FrameSection> DebugFrame(const ElfFile& elf);

  // Every FDE, in the section's order. An unreadable one is skipped and counted; a length that
  // leaves the section ends the reading and counts once.
  std::vector<FrameFunction> ReadFunctions();
  // The rules of one of them; false: malformed. See RunInstructions.
  bool Run(const FrameFunction& function, std::vector<CfiRow>& rows) const;

  size_t damaged() const { return damaged_; }
  // Names section and offset of the first unreadable entry; empty when all are well.
  const std::string& first_damage() const { return first_damage_; }
  size_t bytes() const { return bytes_.size(); }

 private:
  struct Entry;
  FrameSection() = default;
  static Result<FrameSection> FromHeader(const ElfFile& elf);
  std::optional<Entry> ReadEntry(ByteReader& reader);
  void ReadFunction(const Entry& entry, std::vector<FrameFunction>& functions);
  // Index into cies_; nullopt when the CIE is unusable.
  std::optional<uint32_t> FindCie(uint64_t offset);
  Cie ReadCie(uint64_t offset);
  void Damaged(uint64_t offset, const char* what);

  std::vector<uint8_t> bytes_;
  PointerBases bases_;
  const char* name_ = ".eh_frame";
  bool is_eh_frame_ = true;
  bool ends_at_terminator_ = false;  // The size is not known: stop at a length of 0.
  std::vector<Cie> cies_;
  std::unordered_map<uint64_t, uint32_t> cie_at_;  // By offset in the section.
  uint64_t last_cie_offset_ = ~uint64_t{0};
  std::optional<uint32_t> last_cie_;
  size_t damaged_ = 0;
  std::string first_damage_;
};

}  // namespace hotpath
