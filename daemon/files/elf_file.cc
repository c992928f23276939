// Reads an ELF file's headers once, checks them, and hands out its bytes within bounds.
#include "daemon/files/elf_file.h"

#include <elf.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "daemon/files/build_id.h"

namespace hotpath {
namespace {

constexpr uint64_t kMaxNameTableBytes = uint64_t{16} << 20;
constexpr uint64_t kMaxNoteBytes = uint64_t{1} << 20;  // Of one note segment or section.
constexpr size_t kMaxSectionName = 255;

bool Overflows(uint64_t start, uint64_t bytes) { return start + bytes < start; }

Result<std::vector<uint8_t>> Inflate(const ElfSection& section, std::span<const uint8_t> packed) {
  Elf64_Chdr header;
  if (packed.size() < sizeof(header)) {
    return Fail(ErrorCode::kMalformed,
                fmt::format("section {}: no room for its compression header", section.name));
  }
  std::memcpy(&header, packed.data(), sizeof(header));
  packed = packed.subspan(sizeof(header));
  if (header.ch_type != ELFCOMPRESS_ZLIB) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("section {}: compression {}", section.name, header.ch_type));
  }
  if (header.ch_size > ElfFile::kMaxSectionBytes) {
    return Fail(ErrorCode::kTooLarge,
                fmt::format("section {}: {} bytes unpacked", section.name, header.ch_size));
  }
  // Deflate never packs tighter than 1032:1, so a larger claim is a lie that would cost memory.
  if (header.ch_size > packed.size() * 1032 + 1032) {
    return Fail(ErrorCode::kMalformed, fmt::format("section {}: {} bytes cannot unpack to {}",
                                                   section.name, packed.size(), header.ch_size));
  }
  std::vector<uint8_t> bytes(header.ch_size);
  uLongf unpacked = bytes.size();
  uint8_t nothing = 0;
  const int status =
      uncompress(bytes.empty() ? &nothing : bytes.data(), &unpacked, packed.data(), packed.size());
  if (status != Z_OK || unpacked != bytes.size()) {
    return Fail(ErrorCode::kMalformed, fmt::format("section {}: zlib error {} after {} of {} bytes",
                                                   section.name, status, unpacked, header.ch_size));
  }
  return bytes;
}

}  // namespace

struct ElfFile::Impl {
  int fd = -1;                  // Borrowed; -1 when the image is in memory.
  std::vector<uint8_t> memory;  // The image, when there is no descriptor.
  uint64_t file_bytes = 0;
  Elf64_Ehdr header{};
  std::vector<ElfSegment> segments;
  std::vector<ElfSection> sections;
  std::optional<std::pair<uint64_t, uint64_t>> eh_frame_hdr;
  std::string build_id;

  Result<void> ReadInto(uint64_t offset, void* to, uint64_t bytes) const;
  Result<std::vector<uint8_t>> Read(uint64_t offset, uint64_t bytes) const;
  Result<void> Parse();

 private:
  struct NoteRange {
    uint64_t offset, bytes, alignment;
  };
  std::optional<Elf64_Shdr> FirstSectionHeader() const;
  Result<std::vector<NoteRange>> ParseSegments();
  void ParseSections();
  void FindBuildId(const std::vector<NoteRange>& note_segments);
};

Result<void> ElfFile::Impl::ReadInto(uint64_t offset, void* to, uint64_t bytes) const {
  if (offset > file_bytes || bytes > file_bytes - offset) {
    return Fail(ErrorCode::kMalformed,
                fmt::format("read {} bytes at offset {:#x}: the file has {:#x}", bytes, offset,
                            file_bytes));
  }
  if (bytes == 0) return {};
  if (fd < 0) {
    std::memcpy(to, memory.data() + offset, bytes);
    return {};
  }
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t got =
        pread(fd, static_cast<char*>(to) + done, bytes - done, static_cast<off_t>(offset + done));
    if (got < 0) {
      if (errno == EINTR) continue;
      return Fail(ErrorCode::kSystem,
                  fmt::format("pread at offset {:#x}: {}", offset + done, std::strerror(errno)));
    }
    if (got == 0) {
      return Fail(ErrorCode::kMalformed,
                  fmt::format("read at offset {:#x}: the file was truncated", offset + done));
    }
    done += static_cast<uint64_t>(got);
  }
  return {};
}

Result<std::vector<uint8_t>> ElfFile::Impl::Read(uint64_t offset, uint64_t bytes) const {
  if (bytes > kMaxSectionBytes) {
    return Fail(ErrorCode::kTooLarge, fmt::format("{} bytes at offset {:#x}", bytes, offset));
  }
  // Before anything is allocated: a damaged size must not cost memory.
  if (offset > file_bytes || bytes > file_bytes - offset) {
    return Fail(ErrorCode::kMalformed, fmt::format("{} bytes at offset {:#x}: the file has {:#x}",
                                                   bytes, offset, file_bytes));
  }
  std::vector<uint8_t> contents(bytes);
  if (auto read = ReadInto(offset, contents.data(), bytes); !read) {
    return std::unexpected(read.error());
  }
  return contents;
}

Result<void> ElfFile::Impl::Parse() {
  if (auto read = ReadInto(0, &header, sizeof(header)); !read) {
    return Fail(read.error().code, "ELF header: " + read.error().message);
  }
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return Fail(ErrorCode::kMalformed, "ELF magic at offset 0: not an ELF file");
  }
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != EM_X86_64) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("ELF class {}, data {}, machine {}: not 64-bit x86-64",
                            header.e_ident[EI_CLASS], header.e_ident[EI_DATA], header.e_machine));
  }
  auto notes = ParseSegments();
  if (!notes) return std::unexpected(notes.error());
  ParseSections();
  FindBuildId(*notes);
  return {};
}

// Holds the counts that do not fit the ELF header.
std::optional<Elf64_Shdr> ElfFile::Impl::FirstSectionHeader() const {
  Elf64_Shdr first;
  if (header.e_shoff == 0 || header.e_shentsize != sizeof(first) ||
      !ReadInto(header.e_shoff, &first, sizeof(first))) {
    return std::nullopt;
  }
  return first;
}

// Segments may end past the file: those of a separate debug file do.
Result<std::vector<ElfFile::Impl::NoteRange>> ElfFile::Impl::ParseSegments() {
  std::vector<NoteRange> notes;
  uint64_t count = header.e_phnum;
  if (count == PN_XNUM) {
    if (auto first = FirstSectionHeader()) count = first->sh_info;
  }
  if (count == 0 || header.e_phoff == 0) return notes;
  if (header.e_phentsize != sizeof(Elf64_Phdr)) {
    return Fail(ErrorCode::kMalformed,
                fmt::format("e_phentsize at offset {:#x}: {}", offsetof(Elf64_Ehdr, e_phentsize),
                            header.e_phentsize));
  }
  if (count > kMaxSegments) {
    return Fail(ErrorCode::kTooLarge, fmt::format("{} program headers", count));
  }
  std::vector<Elf64_Phdr> headers(count);
  if (auto read = ReadInto(header.e_phoff, headers.data(), count * sizeof(Elf64_Phdr)); !read) {
    return Fail(read.error().code, "program headers: " + read.error().message);
  }
  for (size_t i = 0; i < headers.size(); ++i) {
    const Elf64_Phdr& program = headers[i];
    if (program.p_type == PT_NOTE) {
      notes.push_back({program.p_offset, program.p_filesz, program.p_align});
    }
    if (program.p_type == PT_GNU_EH_FRAME && !eh_frame_hdr) {
      eh_frame_hdr = {program.p_vaddr, program.p_filesz};
    }
    if (program.p_type != PT_LOAD) continue;
    if (Overflows(program.p_offset, program.p_filesz) ||
        Overflows(program.p_vaddr, std::max(program.p_memsz, program.p_filesz))) {
      return Fail(ErrorCode::kMalformed,
                  fmt::format("program header at offset {:#x}: its range wraps around",
                              header.e_phoff + i * sizeof(Elf64_Phdr)));
    }
    segments.push_back({.file_offset = program.p_offset,
                        .address = program.p_vaddr,
                        .file_bytes = program.p_filesz,
                        .memory_bytes = program.p_memsz,
                        .executable = (program.p_flags & PF_X) != 0});
  }
  return notes;
}

void ElfFile::Impl::ParseSections() {
  const auto first = FirstSectionHeader();
  if (!first) return;
  const uint64_t count = header.e_shnum != 0 ? header.e_shnum : first->sh_size;
  const uint64_t names_at =
      header.e_shstrndx == SHN_XINDEX ? first->sh_link : uint64_t{header.e_shstrndx};
  if (count == 0 || count > kMaxSections || names_at >= count) return;
  auto table = Read(header.e_shoff, count * sizeof(Elf64_Shdr));
  if (!table) return;
  const auto section_header = [&](uint64_t index) {
    Elf64_Shdr section;
    std::memcpy(&section, table->data() + index * sizeof(section), sizeof(section));
    return section;
  };
  const Elf64_Shdr name_section = section_header(names_at);
  if (name_section.sh_size > kMaxNameTableBytes) return;
  auto names = Read(name_section.sh_offset, name_section.sh_size);
  if (!names) return;

  sections.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    const Elf64_Shdr section = section_header(i);
    std::string name;
    if (section.sh_name < names->size()) {
      const char* start = reinterpret_cast<const char*>(names->data()) + section.sh_name;
      name.assign(start,
                  strnlen(start, std::min(names->size() - section.sh_name, kMaxSectionName)));
    }
    sections.push_back({.name = std::move(name),
                        .type = section.sh_type,
                        .link = section.sh_link,
                        .info = section.sh_info,
                        .flags = section.sh_flags,
                        .address = section.sh_addr,
                        .file_offset = section.sh_offset,
                        .bytes = section.sh_size,
                        .entry_bytes = section.sh_entsize});
  }
}

// Sections first: in a separate debug file the note segments may point at nothing.
void ElfFile::Impl::FindBuildId(const std::vector<NoteRange>& note_segments) {
  BuildIds found;
  const auto search = [&](uint64_t offset, uint64_t bytes, uint64_t alignment) {
    const uint64_t there = offset < file_bytes ? file_bytes - offset : 0;
    auto notes = Read(offset, std::min({bytes, there, kMaxNoteBytes}));
    if (notes) FindBuildIds(*notes, alignment, found);
  };
  for (const ElfSection& section : sections) {
    if (section.type == SHT_NOTE &&
        (section.name == ".note.gnu.build-id" || section.name == ".note.go.buildid")) {
      search(section.file_offset, section.bytes, 4);
    }
    if (!found.gnu.empty()) break;
  }
  if (found.gnu.empty()) {
    constexpr size_t kMaxNoteSegments = 16;
    for (const NoteRange& note :
         std::span(note_segments).first(std::min(note_segments.size(), kMaxNoteSegments))) {
      search(note.offset, note.bytes, note.alignment);
    }
  }
  build_id = found.gnu.empty() ? found.go : found.gnu;
}

ElfFile::ElfFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ElfFile::ElfFile(ElfFile&&) noexcept = default;
ElfFile& ElfFile::operator=(ElfFile&&) noexcept = default;
ElfFile::~ElfFile() = default;

Result<ElfFile> ElfFile::Open(int fd) {
  struct stat status;
  if (fstat(fd, &status) != 0) {
    return Fail(ErrorCode::kSystem, fmt::format("fstat: {}", std::strerror(errno)));
  }
  auto impl = std::make_unique<Impl>();
  impl->fd = fd;
  impl->file_bytes = static_cast<uint64_t>(std::max<off_t>(status.st_size, 0));
  if (auto parsed = impl->Parse(); !parsed) return std::unexpected(parsed.error());
  return ElfFile(std::move(impl));
}

Result<ElfFile> ElfFile::FromMemory(std::vector<uint8_t> bytes) {
  auto impl = std::make_unique<Impl>();
  impl->memory = std::move(bytes);
  impl->file_bytes = impl->memory.size();
  if (auto parsed = impl->Parse(); !parsed) return std::unexpected(parsed.error());
  return ElfFile(std::move(impl));
}

uint64_t ElfFile::file_bytes() const { return impl_->file_bytes; }
uint64_t ElfFile::entry() const { return impl_->header.e_entry; }
uint16_t ElfFile::type() const { return impl_->header.e_type; }
const std::vector<ElfSegment>& ElfFile::segments() const { return impl_->segments; }
const std::vector<ElfSection>& ElfFile::sections() const { return impl_->sections; }
const std::string& ElfFile::build_id() const { return impl_->build_id; }

const ElfSection* ElfFile::FindSection(std::string_view name) const {
  const auto found = std::ranges::find(impl_->sections, name, &ElfSection::name);
  return found == impl_->sections.end() ? nullptr : &*found;
}

std::optional<std::pair<uint64_t, uint64_t>> ElfFile::eh_frame_hdr() const {
  return impl_->eh_frame_hdr;
}

std::optional<uint64_t> ElfFile::AddressOfOffset(uint64_t file_offset) const {
  for (const ElfSegment& segment : impl_->segments) {
    const uint64_t into = file_offset - segment.file_offset;
    if (file_offset >= segment.file_offset && into < segment.file_bytes) {
      return segment.address + into;
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> ElfFile::OffsetOfAddress(uint64_t address) const {
  for (const ElfSegment& segment : impl_->segments) {
    const uint64_t into = address - segment.address;
    if (address >= segment.address && into < segment.file_bytes) {
      return segment.file_offset + into;
    }
  }
  return std::nullopt;
}

Result<std::vector<uint8_t>> ElfFile::Read(uint64_t file_offset, uint64_t bytes) const {
  return impl_->Read(file_offset, bytes);
}

Result<std::vector<uint8_t>> ElfFile::ReadSection(const ElfSection& section) const {
  if (section.type == SHT_NOBITS) {
    return Fail(ErrorCode::kMalformed, fmt::format("section {}: not in the file", section.name));
  }
  auto contents = impl_->Read(section.file_offset, section.bytes);
  if (!contents) {
    return Fail(contents.error().code,
                fmt::format("section {}: {}", section.name, contents.error().message));
  }
  if ((section.flags & SHF_COMPRESSED) == 0) return contents;
  return Inflate(section, *contents);
}

Result<std::vector<uint8_t>> ElfFile::ReadAddress(uint64_t address, uint64_t bytes) const {
  for (const ElfSegment& segment : impl_->segments) {
    const uint64_t into = address - segment.address;
    if (address < segment.address || into >= segment.memory_bytes) continue;
    const uint64_t in_segment = into < segment.file_bytes ? segment.file_bytes - into : 0;
    const uint64_t offset = segment.file_offset + into;
    const uint64_t in_file = offset < impl_->file_bytes ? impl_->file_bytes - offset : 0;
    const uint64_t there = std::min({bytes, in_segment, in_file});
    if (there == 0) return std::vector<uint8_t>();
    return impl_->Read(offset, there);
  }
  return Fail(ErrorCode::kMalformed, fmt::format("address {:#x}: in no segment", address));
}

}  // namespace hotpath
