// Reads the entries of .eh_frame and .debug_frame: CIEs once each, FDEs up to their instructions.
#include "daemon/files/frame_section.h"

#include <dwarf.h>
#include <elf.h>
#include <fmt/format.h>

#include <string_view>

namespace hotpath {
namespace {

constexpr size_t kMaxAugmentation = 16;
constexpr uint32_t kExtendedLength = 0xffffffff;

Result<std::vector<uint8_t>> ReadBounded(const ElfFile& elf, const ElfSection& section) {
  if (section.bytes > FrameSection::kMaxBytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("section {}: {} bytes", section.name, section.bytes));
  }
  auto bytes = elf.ReadSection(section);
  if (bytes && bytes->size() > FrameSection::kMaxBytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("section {}: {} bytes unpacked", section.name, bytes->size()));
  }
  return bytes;
}

std::optional<uint64_t> AddressOfSection(const ElfFile& elf, std::string_view name) {
  const ElfSection* section = elf.FindSection(name);
  if (section == nullptr) return std::nullopt;
  return section->address;
}

// The NUL-terminated augmentation; nullopt when it is longer than any that is known.
std::optional<std::string> ReadAugmentation(ByteReader& reader) {
  std::string text;
  while (text.size() < kMaxAugmentation) {
    const auto byte = static_cast<char>(reader.U8());
    if (!reader.ok()) return std::nullopt;
    if (byte == '\0') return text;
    text += byte;
  }
  return std::nullopt;
}

// What follows z in the augmentation. False: malformed.
bool ReadAugmentationData(std::string_view letters, ByteReader& data, const PointerBases& bases,
                          Cie& cie) {
  for (const char letter : letters) {
    switch (letter) {
      case 'L':
        data.U8();
        break;
      case 'P': {
        const uint8_t encoding = data.U8();
        // Only to be skipped: a base that is missing does not matter.
        PointerBases any = bases;
        any.text = any.data = 0;
        if (encoding != kPointerOmitted && !ReadPointer(data, encoding, any)) return false;
        break;
      }
      case 'R':
        cie.pointer_encoding = data.U8();
        break;
      case 'S':
        cie.signal = true;
        break;
      case 'B':  // Pointer authentication and memory tagging: nothing on x86-64.
      case 'G':
        break;
      default:
        return data.ok();  // z gives the size, so that the unknown rest can be skipped.
    }
  }
  return data.ok();
}

}  // namespace

struct FrameSection::Entry {
  uint64_t offset;   // Of its length field.
  uint64_t content;  // Of what follows the id.
  uint64_t end;
  std::optional<uint64_t> cie_offset;  // nullopt: the entry is a CIE itself.
};

Result<FrameSection> FrameSection::EhFrame(const ElfFile& elf) {
  const ElfSection* section = elf.FindSection(".eh_frame");
  if (section == nullptr || section->type == SHT_NOBITS) return FromHeader(elf);
  auto bytes = ReadBounded(elf, *section);
  if (!bytes) {
    auto other = FromHeader(elf);
    return other ? std::move(other) : std::unexpected(bytes.error());
  }
  FrameSection frames;
  frames.bytes_ = std::move(*bytes);
  frames.bases_ = {.section = section->address,
                   .text = AddressOfSection(elf, ".text"),
                   .data = AddressOfSection(elf, ".got")};
  return frames;
}

// .eh_frame_hdr: version, encodings of .eh_frame's address, of the count and of the table.
Result<FrameSection> FrameSection::FromHeader(const ElfFile& elf) {
  const auto header = elf.eh_frame_hdr();
  if (!header) return Fail(ErrorCode::kNotFound, "no .eh_frame");
  constexpr uint64_t kHeaderBytes = 4, kLongestPointer = 16;
  auto head = elf.ReadAddress(header->first, kHeaderBytes + kLongestPointer);
  if (!head) return Fail(head.error().code, "PT_GNU_EH_FRAME: " + head.error().message);
  ByteReader reader(*head);
  const uint8_t version = reader.U8();
  const uint8_t encoding = reader.U8();
  reader.U16();
  const auto address = ReadPointer(
      reader, encoding, {.section = header->first, .text = std::nullopt, .data = header->first});
  if (version != 1 || !address || (encoding & DW_EH_PE_indirect) != 0) {
    return Fail(ErrorCode::kMalformed,
                fmt::format("PT_GNU_EH_FRAME at {:#x}: version {}, encoding {:#x}", header->first,
                            version, encoding));
  }
  auto bytes = elf.ReadAddress(*address, kMaxBytes);
  if (!bytes) return Fail(bytes.error().code, ".eh_frame: " + bytes.error().message);
  FrameSection frames;
  frames.bytes_ = std::move(*bytes);
  frames.bases_.section = *address;
  frames.ends_at_terminator_ = true;
  return frames;
}

Result<FrameSection> FrameSection::DebugFrame(const ElfFile& elf) {
  const ElfSection* section = elf.FindSection(".debug_frame");
  if (section == nullptr || section->type == SHT_NOBITS) {
    return Fail(ErrorCode::kNotFound, "no .debug_frame");
  }
  auto bytes = ReadBounded(elf, *section);
  if (!bytes) return std::unexpected(bytes.error());
  FrameSection frames;
  frames.bytes_ = std::move(*bytes);
  frames.name_ = ".debug_frame";
  frames.is_eh_frame_ = false;
  return frames;
}

void FrameSection::Damaged(uint64_t offset, const char* what) {
  if (damaged_++ == 0) first_damage_ = fmt::format("{} at offset {:#x}: {}", name_, offset, what);
}

// nullopt: its length leaves the section, or there is no more.
std::optional<FrameSection::Entry> FrameSection::ReadEntry(ByteReader& reader) {
  while (reader.left() >= 4) {
    Entry entry{.offset = reader.position(), .content = 0, .end = 0, .cie_offset = std::nullopt};
    uint64_t length = reader.U32();
    const bool wide = length == kExtendedLength;
    if (wide) length = reader.U64();
    if (length == 0) {
      if (ends_at_terminator_) return std::nullopt;
      continue;  // Terminators of several inputs may have been linked together.
    }
    const uint64_t id_at = reader.position();
    if (!reader.ok() || length > reader.left() || length < (wide ? 8U : 4U)) {
      Damaged(entry.offset, "length leaves the section");
      return std::nullopt;
    }
    entry.end = id_at + length;
    const uint64_t id = wide ? reader.U64() : reader.U32();
    entry.content = reader.position();
    reader.Skip(entry.end - entry.content);
    if (is_eh_frame_) {
      if (id != 0) entry.cie_offset = id_at - id;  // A wrong one leaves the section: see ReadCie.
    } else if (id != (wide ? ~uint64_t{0} : uint64_t{kExtendedLength})) {
      entry.cie_offset = id;
    }
    return entry;
  }
  return std::nullopt;
}

std::vector<FrameFunction> FrameSection::ReadFunctions() {
  std::vector<FrameFunction> functions;
  functions.reserve(bytes_.size() / 48);
  ByteReader reader(bytes_);
  while (auto entry = ReadEntry(reader)) {
    if (entry->cie_offset) ReadFunction(*entry, functions);
  }
  return functions;
}

void FrameSection::ReadFunction(const Entry& entry, std::vector<FrameFunction>& functions) {
  const auto cie_index = FindCie(*entry.cie_offset);
  if (!cie_index) return Damaged(entry.offset, "FDE of an unusable CIE");
  const Cie& cie = cies_[*cie_index];
  ByteReader reader(bytes_, entry.content, entry.end);
  const auto address = ReadPointer(reader, cie.pointer_encoding, bases_);
  const auto bytes = ReadPointer(reader, cie.pointer_encoding & 0x0f, bases_);
  if (!address || !bytes || (cie.pointer_encoding & DW_EH_PE_indirect) != 0) {
    return Damaged(entry.offset, "FDE with an unreadable address");
  }
  if (cie.sized_augmentation) reader.Skip(reader.Uleb());
  if (!reader.ok() || *address + *bytes < *address) {
    return Damaged(entry.offset, "FDE whose range or augmentation is too long");
  }
  if (*bytes == 0) return;
  functions.push_back({.address = *address,
                       .bytes = *bytes,
                       .instructions_begin = static_cast<uint32_t>(reader.position()),
                       .instructions_end = static_cast<uint32_t>(entry.end),
                       .cie = *cie_index});
}

std::optional<uint32_t> FrameSection::FindCie(uint64_t offset) {
  if (offset == last_cie_offset_) return last_cie_;
  const auto [at, is_new] = cie_at_.try_emplace(offset, static_cast<uint32_t>(cies_.size()));
  if (is_new) {
    if (cies_.size() >= kMaxCies) {
      cie_at_.erase(at);
      return std::nullopt;
    }
    cies_.push_back(ReadCie(offset));
  }
  last_cie_offset_ = offset;
  last_cie_.reset();
  if (cies_[at->second].usable) last_cie_ = at->second;
  return last_cie_;
}

Cie FrameSection::ReadCie(uint64_t offset) {
  Cie cie;
  if (offset >= bytes_.size()) return cie;
  ByteReader section(bytes_, offset, bytes_.size());
  uint64_t length = section.U32();
  const bool wide = length == kExtendedLength;
  if (wide) length = section.U64();
  if (!section.ok() || length > section.left()) return cie;
  ByteReader reader(bytes_, section.position(), section.position() + length);
  const uint64_t id = wide ? reader.U64() : reader.U32();
  const uint64_t cie_id = is_eh_frame_ ? 0 : (wide ? ~uint64_t{0} : uint64_t{kExtendedLength});
  if (!reader.ok() || id != cie_id) return cie;

  const uint8_t version = reader.U8();
  const auto augmentation = ReadAugmentation(reader);
  if (!augmentation || (version != 1 && version != 3 && version != 4)) return cie;
  std::string_view letters = *augmentation;
  if (letters.starts_with("eh")) {  // GCC 2: an 8-byte pointer follows.
    reader.U64();
    letters.remove_prefix(2);
  }
  if (version == 4) {
    const uint8_t address_bytes = reader.U8();
    const uint8_t segment_bytes = reader.U8();
    if (address_bytes != 8 || segment_bytes != 0) return cie;
  }
  cie.code_alignment = reader.Uleb();
  cie.data_alignment = reader.Sleb();
  const uint64_t return_register = version == 1 ? reader.U8() : reader.Uleb();
  if (return_register > 16) return cie;
  cie.return_register = static_cast<uint8_t>(return_register);
  if (letters.starts_with('z')) {
    cie.sized_augmentation = true;
    const uint64_t data_bytes = reader.Uleb();
    if (!reader.ok() || data_bytes > reader.left()) return cie;
    ByteReader data(bytes_, reader.position(), reader.position() + data_bytes);
    if (!ReadAugmentationData(letters.substr(1), data, bases_, cie)) return cie;
    reader.Skip(data_bytes);
  } else if (!letters.empty()) {
    return cie;  // Without a size, what is unknown cannot be skipped.
  }
  cie.usable = reader.ok() && RunInitialInstructions(reader, bases_, cie);
  return cie;
}

bool FrameSection::Run(const FrameFunction& function, std::vector<CfiRow>& rows) const {
  return RunInstructions(cies_[function.cie],
                         ByteReader(bytes_, function.instructions_begin, function.instructions_end),
                         bases_, function.address, function.address + function.bytes, rows);
}

}  // namespace hotpath
