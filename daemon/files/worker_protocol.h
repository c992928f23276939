// What the file worker and its child say to each other, and how each side reads the other's bytes.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/files/file_worker.h"

namespace hotpath {

enum class WorkerRequestKind : uint32_t {
  kDescribe = 1,  // Descriptors: file, facts.
  kIndex = 2,     // file, facts, words, symbols, [debug file].
  kLines = 3,     // file, addresses, lines, [alternate].
  kPlace = 4,     // file, placement.
};

// The first datagram: with these the child enters its sandbox. If it cannot, it sends a WorkerReply
// that says why and exits.
struct WorkerHello {
  uint64_t memory_bytes = 0;
  uint64_t output_bytes = 0;
};

// One datagram with its descriptors (SCM_RIGHTS). Outputs are memfds of the parent's.
struct WorkerRequest {
  WorkerRequestKind kind = WorkerRequestKind::kDescribe;
  uint32_t want_symbols = 1;   // kIndex: 0 leaves the symbol index out.
  uint64_t address_count = 0;  // kLines: u64 addresses in that memfd.
  uint64_t limit_seconds = 0;  // The child ends itself after as long, should the parent be gone.
};

// One datagram. The parent believes none of it before it has compared it with the memfds.
struct WorkerReply {
  uint32_t failed = 0;      // 1: `code` and `message` say why.
  uint32_t code = 0;        // ErrorCode.
  uint32_t leaving = 0;     // 1: the child has grown and exits; the next request needs a new one.
  uint32_t reserved = 0;    // Zero.
  uint64_t main_bytes = 0;  // Of the facts or lines memfd.
  uint64_t words_bytes = 0;
  uint64_t symbol_bytes = 0;
  char message[256] = {};  // Text, ended by NUL.
};

constexpr int kWorkerSocket = 3;  // The child's only descriptor when it starts.
constexpr size_t kMaxRequestFds = 5;
constexpr uint64_t kMaxFactsBytes = 8 << 20;
constexpr uint64_t kMaxWordsBytes = 128 << 20;
constexpr uint64_t kMaxLinesBytes = 64 << 20;
constexpr uint64_t kMaxPlacementBytes = 4 << 20;
constexpr uint64_t kMaxLineAddresses = 1 << 20;
constexpr uint32_t kMaxInlineDepth = 512;
constexpr uint32_t kMaxNameBytes = 64 << 10;
// The child leaves after this long without a request; the parent stops using it a bit earlier.
constexpr std::chrono::seconds kChildIdle{30};
constexpr std::chrono::seconds kChildStale{25};

// Appends numbers and strings, little endian.
class PayloadWriter {
 public:
  void Number(uint64_t value);
  void Text(std::string_view text);  // Cut at kMaxNameBytes.
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Reads what a PayloadWriter wrote. After the first byte that is missing everything reads as zero
// and ok() is false, so that a caller checks once.
class PayloadReader {
 public:
  explicit PayloadReader(std::span<const uint8_t> bytes) : rest_(bytes) {}
  uint64_t Number();
  // A count of things that take at least `bytes_each` bytes: not ok when they cannot be there.
  uint64_t Count(uint64_t bytes_each);
  std::string Text();
  bool ok() const { return ok_; }
  bool AtEnd() const { return ok_ && rest_.empty(); }

 private:
  std::span<const uint8_t> rest_;
  bool ok_ = true;
};

// The part of a FileIndex that is not words or symbols.
std::string EncodeFacts(const FileIndex& index);
// Errors: kMalformed, naming what is out of range. Every string, number and rule is checked.
Result<FileIndex> DecodeFacts(std::span<const uint8_t> bytes);

// Checks the words of `index` against its info and rules: blocks in order, rows in order within
// their block, rules that exist. Sets row_count and word_count. Errors: kMalformed.
Result<void> CheckWords(std::span<const uint32_t> words, FileIndex& index);

// Strings are stored once: lines of one file name few functions and fewer files.
std::string EncodeLines(const std::vector<std::vector<SourceLine>>& lines);
// Errors: kMalformed when it does not hold exactly `addresses` lists.
Result<std::vector<std::vector<SourceLine>>> DecodeLines(std::span<const uint8_t> bytes,
                                                         size_t addresses);

// Sends one datagram with descriptors. Errors: kUnavailable when the other side is gone.
Result<void> SendDatagram(int socket, std::span<const uint8_t> bytes, std::span<const int> fds);
// Receives a datagram of exactly `bytes.size()` bytes. Errors: kUnavailable at the end of the
// conversation; kMalformed on another size or cut descriptors.
Result<std::vector<Fd>> ReceiveDatagram(int socket, std::span<uint8_t> bytes);

// All of a memfd by pread/pwrite. Errors: kSystem; kTooLarge past the file size limit.
Result<void> WriteAll(int fd, std::span<const uint8_t> bytes);
Result<void> ReadAll(int fd, std::span<uint8_t> bytes);

}  // namespace hotpath
