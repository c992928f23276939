// Reads little-endian numbers and LEB128 out of foreign bytes without leaving them.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

namespace hotpath {

// A cursor in a range of bytes. A read past the end gives 0, moves to the end and clears ok() for
// good, so that a parser may check once after several reads. Borrows the bytes.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : ByteReader(bytes, 0, bytes.size()) {}
  // Only [begin, end) of `bytes`; position() counts from the start of `bytes`.
  ByteReader(std::span<const uint8_t> bytes, size_t begin, size_t end)
      : data_(bytes.data()), at_(begin), end_(end) {
    if (end_ > bytes.size() || at_ > end_) Stop(0);
  }

  bool ok() const { return ok_; }
  bool AtEnd() const { return at_ >= end_; }
  size_t position() const { return at_; }
  size_t end() const { return end_; }
  size_t left() const { return end_ - at_; }

  uint8_t U8() { return Read<uint8_t>(); }
  uint16_t U16() { return Read<uint16_t>(); }
  uint32_t U32() { return Read<uint32_t>(); }
  uint64_t U64() { return Read<uint64_t>(); }

  // Bits past the 64th are dropped, as every reader of DWARF does.
  uint64_t Uleb() {
    uint64_t value = 0;
    for (unsigned shift = 0; at_ < end_; shift += 7) {
      const uint8_t byte = data_[at_++];
      if (shift < 64) value |= uint64_t{byte & 0x7fU} << shift;
      if ((byte & 0x80) == 0) return value;
    }
    return Stop(0);
  }
  int64_t Sleb() {
    uint64_t value = 0;
    for (unsigned shift = 0; at_ < end_;) {
      const uint8_t byte = data_[at_++];
      if (shift < 64) value |= uint64_t{byte & 0x7fU} << shift;
      shift += 7;
      if ((byte & 0x80) != 0) continue;
      if (shift < 64 && (byte & 0x40) != 0) value |= ~uint64_t{0} << shift;
      return static_cast<int64_t>(value);
    }
    return static_cast<int64_t>(Stop(0));
  }

  void Skip(uint64_t bytes) {
    if (bytes > left()) {
      Stop(0);
    } else {
      at_ += bytes;
    }
  }
  // The next `bytes` bytes; empty, and not ok(), when there are fewer.
  std::span<const uint8_t> Take(uint64_t bytes) {
    const size_t from = at_;
    Skip(bytes);
    return ok_ ? std::span(data_ + from, bytes) : std::span<const uint8_t>();
  }

 private:
  template <typename T>
  T Read() {
    if (left() < sizeof(T)) return static_cast<T>(Stop(0));
    T value;
    std::memcpy(&value, data_ + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  uint64_t Stop(uint64_t value) {
    ok_ = false;
    at_ = end_;
    return value;
  }

  const uint8_t* data_;
  size_t at_;
  size_t end_;  // at_ <= end_ <= the bytes' size, unless !ok_ from the start.
  bool ok_ = true;
};

}  // namespace hotpath
