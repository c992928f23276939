// Fuzzes the ELF reader: any bytes give a file or an error, and reads stay within the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "daemon/files/elf_file.h"
#include "daemon/files/unwind_table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hotpath;
  auto elf = ElfFile::FromMemory(std::vector<uint8_t>(data, data + size));
  if (!elf) {
    if (elf.error().message.empty()) abort();
    return 0;
  }
  size_t sections = 0;
  for (const ElfSection& section : elf->sections()) {
    if (++sections > 64) break;
    auto contents = elf->ReadSection(section);
    if (contents && contents->size() > ElfFile::kMaxSectionBytes) abort();
  }
  for (const ElfSegment& segment : elf->segments()) {
    const auto bytes = elf->ReadAddress(segment.address, segment.memory_bytes);
    if (bytes && bytes->size() > size) abort();
    const auto address = elf->AddressOfOffset(segment.file_offset);
    if (segment.file_bytes != 0 && !address) abort();
  }
  (void)elf->OffsetOfAddress(elf->entry());
  (void)UnwindTable::FromElf(*elf, 100'000);
  return 0;
}
