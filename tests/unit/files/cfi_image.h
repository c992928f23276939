// Builds small ELF images around hand-written CFI, for the tests of the unwind table.
#pragma once

#include <elf.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace hotpath {

using Bytes = std::vector<uint8_t>;

inline Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

template <typename T>
Bytes Number(T value) {
  Bytes bytes(sizeof(value));
  std::memcpy(bytes.data(), &value, sizeof(value));
  return bytes;
}

inline Bytes Uleb(uint64_t value) {
  Bytes bytes;
  do {
    bytes.push_back(static_cast<uint8_t>((value & 0x7f) | (value > 0x7f ? 0x80 : 0)));
    value >>= 7;
  } while (value != 0);
  return bytes;
}

inline Bytes Text(const std::string& text) {  // With its NUL.
  return Bytes(text.c_str(), text.c_str() + text.size() + 1);
}

// Code at file offset 0x1000 and address 0x401000 (0x1000 bytes); .eh_frame, .debug_frame and the
// rest after it at the same distance from their addresses.
struct CfiImage {
  static constexpr uint64_t kCodeOffset = 0x1000, kCodeBytes = 0x1000, kBias = 0x400000;
  static constexpr uint64_t kCode = kBias + kCodeOffset;
  static constexpr uint64_t kFramesOffset = kCodeOffset + kCodeBytes;

  Bytes eh_frame = {};
  Bytes debug_frame = {};
  uint64_t entry = 0;
  bool sections = true;  // False: only PT_GNU_EH_FRAME leads to .eh_frame.
  std::string code_name = ".text";
  std::string extra_section = {};  // An empty section of that name.
  uint64_t code_section_bytes = kCodeBytes;
  Bytes code = Bytes(kCodeBytes, 0x90);
  struct Symbol {
    std::string name;
    uint64_t start, bytes;  // From the first byte of code.
  };
  std::vector<Symbol> symbols = {};

  Bytes Build() const {
    // .eh_frame_hdr: version 1, pcrel sdata4 to .eh_frame, no table.
    const uint64_t debug_at = kFramesOffset + eh_frame.size();
    const uint64_t header_at = debug_at + debug_frame.size();
    const auto to_frames = static_cast<int32_t>(kFramesOffset - (header_at + 4));
    const Bytes header = Bytes{1, 0x1b, 0xff, 0xff} + Number(to_frames);
    const Bytes names = Bytes{0} + Text(code_name) + Text(".eh_frame") + Text(".debug_frame") +
                        Text(".names") + Text(extra_section) + Text(".symtab") + Text(".strtab");
    const uint64_t names_at = header_at + header.size();
    Bytes symbol_table(sizeof(Elf64_Sym)), symbol_names(1);
    for (const Symbol& symbol : symbols) {
      Elf64_Sym entry{};
      entry.st_name = static_cast<uint32_t>(symbol_names.size());
      entry.st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC);
      entry.st_shndx = 1;
      entry.st_value = kCode + symbol.start;
      entry.st_size = symbol.bytes;
      symbol_table = symbol_table + Number(entry);
      symbol_names = symbol_names + Text(symbol.name);
    }
    const uint64_t symbols_at = names_at + names.size();
    const uint64_t symbol_names_at = symbols_at + symbol_table.size();
    const uint64_t table_at = symbol_names_at + symbol_names.size();

    Elf64_Ehdr elf{};
    std::memcpy(elf.e_ident, ELFMAG, SELFMAG);
    elf.e_ident[EI_CLASS] = ELFCLASS64;
    elf.e_ident[EI_DATA] = ELFDATA2LSB;
    elf.e_machine = EM_X86_64;
    elf.e_type = ET_EXEC;
    elf.e_entry = entry;
    elf.e_phoff = sizeof(elf);
    elf.e_phentsize = sizeof(Elf64_Phdr);
    elf.e_phnum = 3;
    elf.e_shentsize = sizeof(Elf64_Shdr);
    if (sections) {
      elf.e_shoff = table_at;
      elf.e_shnum = 8;
      elf.e_shstrndx = 4;
    }
    const auto segment = [](uint32_t type, uint32_t flags, uint64_t offset, uint64_t bytes) {
      Elf64_Phdr program{};
      program.p_type = type;
      program.p_flags = flags;
      program.p_offset = offset;
      program.p_vaddr = program.p_paddr = offset + kBias;
      program.p_filesz = program.p_memsz = bytes;
      return Number(program);
    };
    Bytes image = Number(elf) + segment(PT_LOAD, PF_R | PF_X, kCodeOffset, kCodeBytes) +
                  segment(PT_LOAD, PF_R, kFramesOffset, names_at - kFramesOffset) +
                  segment(PT_GNU_EH_FRAME, PF_R, header_at, header.size());
    image.resize(kCodeOffset);
    image = image + code + eh_frame + debug_frame + header + names;
    if (!sections) return image;
    image = image + symbol_table + symbol_names;
    uint32_t name = 1;
    const auto section = [&](const std::string& text, uint64_t offset, uint64_t bytes,
                             uint32_t type = SHT_PROGBITS) {
      Elf64_Shdr header{};
      header.sh_name = name;
      header.sh_type = type;
      header.sh_link = type == SHT_SYMTAB ? 7 : 0;
      header.sh_flags = offset == kCodeOffset ? SHF_ALLOC | SHF_EXECINSTR : 0;
      header.sh_addr = offset + kBias;
      header.sh_offset = offset;
      header.sh_size = bytes;
      name += static_cast<uint32_t>(text.size() + 1);
      return Number(header);
    };
    image = image + Number(Elf64_Shdr{});
    image = image + section(code_name, kCodeOffset, code_section_bytes);
    image = image + section(".eh_frame", kFramesOffset, eh_frame.size());
    image = image + section(".debug_frame", debug_at, debug_frame.size());
    image = image + section(".names", names_at, names.size());
    image = image + section(extra_section, names_at, 0);
    image = image + section(".symtab", symbols_at, symbol_table.size(), SHT_SYMTAB);
    return image + section(".strtab", symbol_names_at, symbol_names.size());
  }
};

// Writes .eh_frame or .debug_frame, entry by entry.
class CfiWriter {
 public:
  explicit CfiWriter(bool is_eh_frame = true) : is_eh_frame_(is_eh_frame) {}

  struct Common {
    std::string augmentation = "zR";
    Bytes augmentation_data = {0x1b};  // pcrel, sdata4
    uint8_t version = 1;
    uint64_t code_alignment = 1;
    Bytes instructions = {0x0c, 7, 8, 0x90, 1};  // CFA = rsp + 8, return address at CFA - 8
  };
  // Entries after it belong to it.
  CfiWriter& AddCie(const Common& common) {
    cie_at_ = bytes_.size();
    Bytes body = Number<uint32_t>(is_eh_frame_ ? 0 : 0xffffffff) + Bytes{common.version} +
                 Text(common.augmentation);
    if (common.version == 4) body = body + Bytes{8, 0};
    body = body + Uleb(common.code_alignment) + Bytes{0x78, 16};  // data alignment -8
    if (common.augmentation.starts_with('z')) {
      body = body + Uleb(common.augmentation_data.size()) + common.augmentation_data;
    }
    sized_ = common.augmentation.starts_with('z');
    Append(body + common.instructions);
    return *this;
  }
  CfiWriter& AddCie() { return AddCie(Common()); }

  // `start` from the first byte of code; pcrel sdata4 in .eh_frame, absolute in .debug_frame.
  CfiWriter& AddFde(uint64_t start, uint64_t bytes, const Bytes& instructions = {}) {
    const uint64_t address = CfiImage::kCode + start;
    if (!is_eh_frame_) {
      return AddRawFde(Number(address) + Number(bytes), instructions);
    }
    const uint64_t pointer_at = CfiImage::kBias + CfiImage::kFramesOffset + bytes_.size() + 8;
    return AddRawFde(
        Number(static_cast<int32_t>(address - pointer_at)) + Number(static_cast<uint32_t>(bytes)),
        instructions);
  }
  // `range`: start and size as the CIE encodes them.
  CfiWriter& AddRawFde(const Bytes& range, const Bytes& instructions) {
    const size_t id_at = bytes_.size() + 4;
    const auto cie = static_cast<uint32_t>(is_eh_frame_ ? id_at - cie_at_ : cie_at_);
    Append(Number(cie) + range + (sized_ ? Bytes{0} : Bytes{}) + instructions);
    return *this;
  }
  CfiWriter& AddBytes(const Bytes& bytes) {
    bytes_ = bytes_ + bytes;
    return *this;
  }
  const Bytes& bytes() const { return bytes_; }
  // Where the next entry's id will be, as an address.
  uint64_t next_id_address() const {
    return CfiImage::kBias + CfiImage::kFramesOffset + bytes_.size() + 4;
  }

 private:
  void Append(const Bytes& body) {
    bytes_ = bytes_ + Number(static_cast<uint32_t>(body.size())) + body;
  }
  const bool is_eh_frame_;
  Bytes bytes_;
  size_t cie_at_ = 0;
  bool sized_ = true;
};

}  // namespace hotpath
