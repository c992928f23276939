// Any bytes as an ELF file to build an index of, and as an index to read: errors, never a crash.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "daemon/files/symbol_index.h"

namespace {

void LookAround(const hotpath::SymbolIndex& index) {
  for (uint64_t address = 0; address < 0x4000; address += 61) {
    const auto symbol = index.Find(address);
    if (symbol && symbol->name.size() > UINT16_MAX) std::abort();
  }
  index.Find(UINT64_MAX);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  if (const auto index = hotpath::SymbolIndex::FromBytes(bytes)) LookAround(*index);
  const auto elf = hotpath::ElfFile::FromMemory(std::vector<uint8_t>(data, data + size));
  if (!elf) return 0;
  const hotpath::FunctionRange ranges[] = {{0x1000, 16}, {0x1020, 0x200}};
  const auto built = hotpath::BuildSymbolIndex(*elf, &*elf, ranges);
  if (!built) return 0;
  const auto index = hotpath::SymbolIndex::FromBytes(*built);
  if (!index) std::abort();  // What we write we can read.
  LookAround(*index);
  return 0;
}
