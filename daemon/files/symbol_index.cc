// Looks functions up in a symbol index, in place.
#include "daemon/files/symbol_index.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "daemon/files/symbol_index_format.h"

namespace hotpath {
namespace {

enum Array : size_t { kStarts, kSizes, kNames };

// How many entries before an address are tried: functions can lie inside others (assembly).
constexpr size_t kMaxNested = 32;

}  // namespace

Result<SymbolIndex> SymbolIndex::Map(int fd) {
  struct stat status{};
  if (fstat(fd, &status) != 0) return FailErrno("fstat of a symbol index");
  const auto bytes = static_cast<size_t>(std::max<off_t>(status.st_size, 0));
  if (bytes < sizeof(SymbolIndexHeader)) {
    return Fail(ErrorCode::kMalformed, fmt::format("symbol index: {} bytes", bytes));
  }
  void* data = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return FailErrno("mmap of a symbol index");
  SymbolIndex index;
  index.mapped_ = true;
  index.data_ = static_cast<const uint8_t*>(data);
  index.bytes_ = bytes;
  if (auto adopted = index.Adopt(index.data_, bytes); !adopted) {
    return std::unexpected(adopted.error());
  }
  return index;
}

Result<SymbolIndex> SymbolIndex::FromBytes(std::string bytes) {
  SymbolIndex index;
  index.owned_ = std::move(bytes);
  auto adopted =
      index.Adopt(reinterpret_cast<const uint8_t*>(index.owned_.data()), index.owned_.size());
  if (!adopted) return std::unexpected(adopted.error());
  return index;
}

Result<void> SymbolIndex::Adopt(const uint8_t* data, size_t bytes) {
  SymbolIndexHeader header;
  const uint64_t magic = header.magic;
  if (bytes < sizeof(header)) {
    return Fail(ErrorCode::kMalformed, fmt::format("symbol index: {} bytes", bytes));
  }
  std::memcpy(&header, data, sizeof(header));
  const uint64_t needed = sizeof(header) +
                          uint64_t{header.count} * kSymbolIndexArrays * sizeof(uint32_t) +
                          header.name_bytes;
  if (header.magic != magic || needed != bytes) {
    return Fail(ErrorCode::kMalformed,
                fmt::format("symbol index: {} bytes where its header tells {}", bytes, needed));
  }
  data_ = data;
  bytes_ = bytes;
  base_ = header.base;
  count_ = header.count;
  return {};
}

SymbolIndex::SymbolIndex(SymbolIndex&& other) noexcept { *this = std::move(other); }

SymbolIndex& SymbolIndex::operator=(SymbolIndex&& other) noexcept {
  if (this == &other) return *this;
  if (mapped_) munmap(const_cast<uint8_t*>(data_), bytes_);
  mapped_ = std::exchange(other.mapped_, false);
  owned_ = std::move(other.owned_);
  data_ = std::exchange(other.data_, nullptr);
  if (!mapped_) data_ = reinterpret_cast<const uint8_t*>(owned_.data());  // It may have moved.
  bytes_ = std::exchange(other.bytes_, 0);
  base_ = other.base_;
  count_ = std::exchange(other.count_, 0);
  return *this;
}

SymbolIndex::~SymbolIndex() {
  if (mapped_) munmap(const_cast<uint8_t*>(data_), bytes_);
}

size_t SymbolIndex::size() const { return count_; }

// `array` < kSymbolIndexArrays and `index` < count_: checked against the size by Adopt.
uint32_t SymbolIndex::Word(size_t array, size_t index) const {
  uint32_t word = 0;
  std::memcpy(&word,
              data_ + sizeof(SymbolIndexHeader) + (array * count_ + index) * sizeof(uint32_t),
              sizeof(word));
  return word;
}

std::string_view SymbolIndex::NameAt(uint32_t offset) const {
  const size_t names = sizeof(SymbolIndexHeader) + count_ * kSymbolIndexArrays * sizeof(uint32_t);
  const size_t room = bytes_ - names;
  uint16_t length = 0;
  if (offset > room || room - offset < sizeof(length)) return {};
  std::memcpy(&length, data_ + names + offset, sizeof(length));
  if (room - offset - sizeof(length) < length) return {};
  return {reinterpret_cast<const char*>(data_) + names + offset + sizeof(length), length};
}

std::optional<IndexedSymbol> SymbolIndex::Find(uint64_t address) const {
  if (address < base_ || address - base_ > UINT32_MAX) return std::nullopt;
  const auto target = static_cast<uint32_t>(address - base_);
  size_t low = 0;
  size_t high = count_;  // The first entry that starts after `target` is in [low, high].
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (Word(kStarts, middle) <= target) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  for (size_t i = low, tried = 0; i > 0 && tried < kMaxNested; --i, ++tried) {
    const uint32_t start = Word(kStarts, i - 1);
    const uint32_t size = Word(kSizes, i - 1);
    if (start <= target && target - start < size) {
      return IndexedSymbol{base_ + start, size, NameAt(Word(kNames, i - 1))};
    }
  }
  return std::nullopt;
}

}  // namespace hotpath
