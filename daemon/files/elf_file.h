// A bounded reader of ELF files that trusts nothing in them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"

namespace hotpath {

struct ElfSegment {  // One PT_LOAD.
  uint64_t file_offset, address, file_bytes, memory_bytes;
  bool executable;
};

struct ElfSection {
  std::string name;
  uint32_t type, link, info;
  uint64_t flags, address, file_offset, bytes, entry_bytes;
};

// 64-bit little-endian x86-64 ELF, read by pread alone: a file truncated under us gives an error,
// never SIGBUS. Everything is checked against the file's size and the limits below. Immutable and
// thread-safe after Open. The descriptor is borrowed and must outlive it.
class ElfFile {
 public:
  static constexpr size_t kMaxSections = 65'536;
  static constexpr size_t kMaxSegments = 4'096;
  static constexpr uint64_t kMaxSectionBytes = uint64_t{1} << 30;  // After decompression.

  // Errors: kMalformed naming the field and offset; kUnsupported for 32-bit or foreign machines;
  // kSystem when reading fails.
  static Result<ElfFile> Open(int fd);
  // A copy of an image in memory: the vDSO, an unpacked .gnu_debugdata.
  static Result<ElfFile> FromMemory(std::vector<uint8_t> bytes);

  ElfFile(ElfFile&&) noexcept;
  ElfFile& operator=(ElfFile&&) noexcept;
  ~ElfFile();

  uint64_t file_bytes() const;
  uint64_t entry() const;  // Virtual address.
  uint16_t type() const;   // ET_EXEC, ET_DYN, ...
  const std::vector<ElfSegment>& segments() const;
  const std::vector<ElfSection>& sections()
      const;  // Empty when there are none or they are damaged.
  const ElfSection* FindSection(std::string_view name) const;
  // Address and bytes of PT_GNU_EH_FRAME, for files without sections.
  std::optional<std::pair<uint64_t, uint64_t>> eh_frame_hdr() const;
  // Lower-case hex of NT_GNU_BUILD_ID; for Go binaries without one, of a hash of Go's build ID note
  // ("go:" is not prefixed); empty when there is neither.
  const std::string& build_id() const;

  // nullopt outside every PT_LOAD.
  std::optional<uint64_t> AddressOfOffset(uint64_t file_offset) const;
  std::optional<uint64_t> OffsetOfAddress(uint64_t address) const;

  // `bytes` bytes at `file_offset`. Errors: kMalformed past the end; kTooLarge past the limit.
  Result<std::vector<uint8_t>> Read(uint64_t file_offset, uint64_t bytes) const;
  // A section's contents, unpacked when SHF_COMPRESSED (zlib). SHT_NOBITS: kMalformed.
  Result<std::vector<uint8_t>> ReadSection(const ElfSection& section) const;
  // As much as is there of a range of virtual addresses (within one segment).
  Result<std::vector<uint8_t>> ReadAddress(uint64_t address, uint64_t bytes) const;

 private:
  struct Impl;
  explicit ElfFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hotpath
