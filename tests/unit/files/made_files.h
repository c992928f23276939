// Files that tests make: temporary folders, small and hostile ELF images.
#pragma once

#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "daemon/base/fd.h"

namespace hotpath {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "hotpath-test-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

  std::string Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary | std::ios::trunc) << bytes;
    return *this / name;
  }
  // A program that takes the place of the file worker's child.
  std::string Script(const std::string& name, const std::string& commands) const {
    const std::string path = Write(name, "#!/bin/sh\n" + commands + "\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  }

 private:
  std::filesystem::path path_;
};

inline Fd OpenForReading(const std::string& path) {
  return Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
}

// The C library this program runs with.
inline std::string LibcPath() {
  std::string path;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* found) {
        if (std::strstr(info->dlpi_name, "libc.so") != nullptr) {
          *static_cast<std::string*>(found) = info->dlpi_name;
        }
        return 0;
      },
      &path);
  EXPECT_NE(path, "");
  return std::filesystem::canonical(path).string();
}

// A valid x86-64 ELF header and one PT_LOAD, followed by nothing: no sections, no unwind rules.
inline std::string BareElf() {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_DYN;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof header;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  header.e_shentsize = sizeof(Elf64_Shdr);
  Elf64_Phdr load{};
  load.p_type = PT_LOAD;
  load.p_flags = PF_R | PF_X;
  load.p_filesz = load.p_memsz = 4'096;
  load.p_align = 4'096;
  std::string bytes(4'096, '\0');
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, &load, sizeof load);
  return bytes;
}

// The same with an .eh_frame of `bytes` zeros that take no room: in a memfd, holes.
inline Fd ElfWithHugeUnwindSection(uint64_t bytes) {
  std::string image = BareElf();
  const char names[] = "\0.shstrtab\0.eh_frame";
  constexpr uint64_t kNamesAt = 1'024, kTableAt = 2'048, kSectionAt = 4'096;
  Elf64_Shdr sections[3]{};
  sections[1].sh_name = 1;
  sections[1].sh_type = SHT_STRTAB;
  sections[1].sh_offset = kNamesAt;
  sections[1].sh_size = sizeof names;
  sections[2].sh_name = 11;
  sections[2].sh_type = SHT_PROGBITS;
  sections[2].sh_flags = SHF_ALLOC;
  sections[2].sh_addr = sections[2].sh_offset = kSectionAt;
  sections[2].sh_size = bytes;
  std::memcpy(image.data() + kNamesAt, names, sizeof names);
  std::memcpy(image.data() + kTableAt, sections, sizeof sections);
  auto* header = reinterpret_cast<Elf64_Ehdr*>(image.data());
  header->e_shoff = kTableAt;
  header->e_shnum = 3;
  header->e_shstrndx = 1;
  Fd fd(memfd_create("huge", MFD_CLOEXEC));
  EXPECT_EQ(pwrite(fd.get(), image.data(), image.size(), 0), static_cast<ssize_t>(image.size()));
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(kSectionAt + bytes)), 0);
  return fd;
}

}  // namespace hotpath
