// ElfFile: agrees with elfutils on real files, refuses damaged ones.
#include "daemon/files/elf_file.h"

#include <dlfcn.h>
#include <elf.h>
#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <libelf.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include <cstring>

#include "daemon/base/fd.h"

namespace hotpath {
namespace {

std::string LibcPath() {
  Dl_info info{};
  dladdr(reinterpret_cast<void*>(&getpid), &info);
  return info.dli_fname;
}

Fd OpenLibc() { return Fd(open(LibcPath().c_str(), O_RDONLY | O_CLOEXEC)); }

std::vector<uint8_t> Bytes(int fd) {
  std::vector<uint8_t> bytes(lseek(fd, 0, SEEK_END));
  EXPECT_EQ(pread(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  return bytes;
}

// The smallest file we accept, with room for `program_headers` and `tail` after them.
std::vector<uint8_t> MakeElf(std::vector<Elf64_Phdr> program_headers,
                             std::vector<uint8_t> tail = {}) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_machine = EM_X86_64;
  header.e_type = ET_DYN;
  header.e_phoff = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = program_headers.size();
  std::vector<uint8_t> bytes(sizeof(header) + program_headers.size() * sizeof(Elf64_Phdr));
  std::memcpy(bytes.data(), &header, sizeof(header));
  if (!program_headers.empty()) {
    std::memcpy(bytes.data() + sizeof(header), program_headers.data(),
                program_headers.size() * sizeof(Elf64_Phdr));
  }
  bytes.insert(bytes.end(), tail.begin(), tail.end());
  return bytes;
}

Elf64_Phdr Segment(uint32_t type, uint64_t offset, uint64_t address, uint64_t bytes) {
  return {.p_type = type,
          .p_flags = PF_R | PF_X,
          .p_offset = offset,
          .p_vaddr = address,
          .p_paddr = 0,
          .p_filesz = bytes,
          .p_memsz = bytes,
          .p_align = 4};
}

TEST(ElfFile, HasTheSectionsAndTheBuildIdThatElfutilsSees) {
  Fd fd = OpenLibc();
  auto elf = ElfFile::Open(fd.get());
  ASSERT_TRUE(elf) << elf.error().message;

  elf_version(EV_CURRENT);
  Elf* oracle = elf_begin(fd.get(), ELF_C_READ, nullptr);
  const void* id = nullptr;
  const ssize_t id_bytes = dwelf_elf_gnu_build_id(oracle, &id);
  ASSERT_GT(id_bytes, 0);
  std::string hex;
  for (ssize_t i = 0; i < id_bytes; ++i) {
    hex += fmt::format("{:02x}", static_cast<const uint8_t*>(id)[i]);
  }
  EXPECT_EQ(elf->build_id(), hex);

  size_t count = 0, names_at = 0;
  elf_getshdrnum(oracle, &count);
  elf_getshdrstrndx(oracle, &names_at);
  ASSERT_EQ(elf->sections().size(), count);
  for (size_t i = 0; i < count; ++i) {
    const Elf64_Shdr* section = elf64_getshdr(elf_getscn(oracle, i));
    EXPECT_EQ(elf->sections()[i].name, elf_strptr(oracle, names_at, section->sh_name));
    EXPECT_EQ(elf->sections()[i].address, section->sh_addr);
    EXPECT_EQ(elf->sections()[i].file_offset, section->sh_offset);
    EXPECT_EQ(elf->sections()[i].bytes, section->sh_size);
  }
  elf_end(oracle);
}

TEST(ElfFile, ReadsTheSameFromAFileAndFromACopyInMemory) {
  Fd fd = OpenLibc();
  auto file = ElfFile::Open(fd.get());
  auto copy = ElfFile::FromMemory(Bytes(fd.get()));
  ASSERT_TRUE(file && copy);
  EXPECT_EQ(file->build_id(), copy->build_id());
  const ElfSection* section = file->FindSection(".eh_frame");
  ASSERT_NE(section, nullptr);
  auto from_file = file->ReadSection(*section);
  auto from_copy = copy->ReadAddress(section->address, section->bytes);
  ASSERT_TRUE(from_file && from_copy);
  EXPECT_EQ(*from_file, *from_copy);
}

TEST(ElfFile, ConvertsBetweenOffsetsAndAddressesOnlyInsideSegments) {
  auto elf = ElfFile::FromMemory(MakeElf({Segment(PT_LOAD, 0x1000, 0x401000, 0x200)}));
  ASSERT_TRUE(elf);
  EXPECT_EQ(elf->AddressOfOffset(0x1000), 0x401000);
  EXPECT_EQ(elf->AddressOfOffset(0x11ff), 0x4011ff);
  EXPECT_EQ(elf->AddressOfOffset(0x1200), std::nullopt);
  EXPECT_EQ(elf->AddressOfOffset(0xfff), std::nullopt);
  EXPECT_EQ(elf->OffsetOfAddress(0x401010), 0x1010);
  EXPECT_EQ(elf->OffsetOfAddress(0x401200), std::nullopt);
  EXPECT_TRUE(elf->segments()[0].executable);
}

TEST(ElfFile, RefusesOtherClassesAndMachines) {
  std::vector<uint8_t> bytes = MakeElf({});
  ASSERT_TRUE(ElfFile::FromMemory(bytes));
  std::vector<uint8_t> narrow = bytes;
  narrow[EI_CLASS] = ELFCLASS32;
  EXPECT_EQ(ElfFile::FromMemory(narrow).error().code, ErrorCode::kUnsupported);
  std::vector<uint8_t> foreign = bytes;
  foreign[offsetof(Elf64_Ehdr, e_machine)] = EM_AARCH64;
  EXPECT_EQ(ElfFile::FromMemory(foreign).error().code, ErrorCode::kUnsupported);
  std::vector<uint8_t> text = bytes;
  text[0] = '#';
  EXPECT_EQ(ElfFile::FromMemory(text).error().code, ErrorCode::kMalformed);
}

TEST(ElfFile, RefusesHeadersPastTheEndAndRangesThatWrapAround) {
  std::vector<uint8_t> cut = MakeElf({Segment(PT_LOAD, 0, 0, 0)});
  cut.resize(cut.size() - 1);
  EXPECT_EQ(ElfFile::FromMemory(cut).error().code, ErrorCode::kMalformed);
  cut.resize(20);
  EXPECT_EQ(ElfFile::FromMemory(cut).error().code, ErrorCode::kMalformed);
  auto wrapped = ElfFile::FromMemory(MakeElf({Segment(PT_LOAD, 0x1000, 0, UINT64_MAX - 1)}));
  EXPECT_EQ(wrapped.error().code, ErrorCode::kMalformed);
}

TEST(ElfFile, ReadsNothingPastTheEndOfTheFile) {
  auto elf = ElfFile::FromMemory(MakeElf({}, {1, 2, 3}));
  ASSERT_TRUE(elf);
  EXPECT_EQ(*elf->Read(sizeof(Elf64_Ehdr), 3), (std::vector<uint8_t>{1, 2, 3}));
  EXPECT_EQ(elf->Read(sizeof(Elf64_Ehdr), 4).error().code, ErrorCode::kMalformed);
  EXPECT_EQ(elf->Read(UINT64_MAX, 2).error().code, ErrorCode::kMalformed);
  EXPECT_EQ(elf->Read(0, ElfFile::kMaxSectionBytes + 1).error().code, ErrorCode::kTooLarge);
}

TEST(ElfFile, SaysMalformedWhenTheFileIsTruncatedUnderIt) {
  Fd fd(memfd_create("truncated", MFD_CLOEXEC));
  const std::vector<uint8_t> bytes = MakeElf({}, std::vector<uint8_t>(4096, 7));
  ASSERT_EQ(write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  auto elf = ElfFile::Open(fd.get());
  ASSERT_TRUE(elf);
  ASSERT_EQ(ftruncate(fd.get(), 100), 0);
  EXPECT_EQ(elf->Read(0, 4096).error().code, ErrorCode::kMalformed);
}

TEST(ElfFile, UnpacksACompressedSectionAndRefusesAClaimThatCannotBe) {
  const std::string text(10'000, 'x');
  std::vector<uint8_t> packed(sizeof(Elf64_Chdr) + compressBound(text.size()));
  uLongf bytes = packed.size() - sizeof(Elf64_Chdr);
  ASSERT_EQ(compress(packed.data() + sizeof(Elf64_Chdr), &bytes,
                     reinterpret_cast<const Bytef*>(text.data()), text.size()),
            Z_OK);
  packed.resize(sizeof(Elf64_Chdr) + bytes);
  const auto with_size = [&](uint64_t size) {
    const Elf64_Chdr header{
        .ch_type = ELFCOMPRESS_ZLIB, .ch_reserved = 0, .ch_size = size, .ch_addralign = 1};
    std::memcpy(packed.data(), &header, sizeof(header));
    return *ElfFile::FromMemory(MakeElf({}, packed));
  };
  const ElfSection section{.name = ".debug_info",
                           .type = SHT_PROGBITS,
                           .link = 0,
                           .info = 0,
                           .flags = SHF_COMPRESSED,
                           .address = 0,
                           .file_offset = sizeof(Elf64_Ehdr),
                           .bytes = packed.size(),
                           .entry_bytes = 0};
  auto unpacked = with_size(text.size()).ReadSection(section);
  ASSERT_TRUE(unpacked) << unpacked.error().message;
  EXPECT_EQ(std::string(unpacked->begin(), unpacked->end()), text);
  EXPECT_EQ(with_size(text.size() + 1).ReadSection(section).error().code, ErrorCode::kMalformed);
  EXPECT_EQ(with_size(text.size() - 1).ReadSection(section).error().code, ErrorCode::kMalformed);
  EXPECT_EQ(with_size(1 << 29).ReadSection(section).error().code, ErrorCode::kMalformed);
  EXPECT_EQ(with_size(UINT64_MAX).ReadSection(section).error().code, ErrorCode::kTooLarge);
}

TEST(ElfFile, FindsTheBuildIdOfAFileWithoutSectionsAndHashesGos) {
  const auto with_note = [](const char(&name)[4], uint32_t type, const std::string& desc) {
    Elf64_Nhdr note{
        .n_namesz = 4, .n_descsz = static_cast<Elf64_Word>(desc.size()), .n_type = type};
    std::vector<uint8_t> tail(sizeof(note) + 4);
    std::memcpy(tail.data(), &note, sizeof(note));
    std::memcpy(tail.data() + sizeof(note), name, 4);
    tail.insert(tail.end(), desc.begin(), desc.end());
    return *ElfFile::FromMemory(
        MakeElf({Segment(PT_NOTE, sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr), 0, tail.size())}, tail));
  };
  EXPECT_EQ(with_note("GNU", NT_GNU_BUILD_ID, "\x01\xab").build_id(), "01ab");
  EXPECT_EQ(with_note("GNU", NT_GNU_BUILD_ID, "").build_id(), "");
  const std::string go = with_note("Go\0", 4, "action/content").build_id();
  EXPECT_EQ(go.size(), 40);
  EXPECT_NE(go, with_note("Go\0", 4, "action/other").build_id());
  EXPECT_EQ(go, with_note("Go\0", 4, "action/content").build_id());
}

}  // namespace
}  // namespace hotpath
