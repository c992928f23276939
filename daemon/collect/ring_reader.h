// From the ring buffer to Samples and NewFiles: the one place that decodes the kernel's records.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/base/strong_id.h"
#include "daemon/profile/file_slots.h"
#include "daemon/profile/sample.h"

struct ring_buffer;

namespace hotpath {

// A file the kernel side met for the first time, as it came out of the ring.
struct FileSighting {
  FileId id;
  uint32_t slot = 0;  // The kernel side's number of it.
  uint64_t inode = 0, ctime_ns = 0;
  uint32_t device = 0, generation = 0;  // device: major << 20 | minor.
  uint64_t vma_start = 0, vma_end = 0;
  uint32_t pid = 0;
  std::string
      path;  // "/usr/bin/redis-server", host's view; its beginning is missing when too long.
};

// Is called on the reader's thread.
class RingSink {
 public:
  virtual ~RingSink() = default;
  virtual void OnSample(const Sample& sample) = 0;
  virtual void OnFile(const FileSighting& file) = 0;
};

// Owns the consumer side of the ring. Run by one thread.
class RingReader {
 public:
  // Borrows `sink`, and `slots`, in which it notes what is used.
  static Result<std::unique_ptr<RingReader>> Open(int ring_fd, RingSink* sink, FileSlots* slots);
  ~RingReader();

  // Waits until the ring is a quarter full, a file was sighted, Wake() was called or `timeout` has
  // passed; then hands over all that is there. Returns the number of records.
  int Poll(std::chrono::milliseconds timeout);
  // From any thread: makes Poll return early.
  void Wake();
  // Records that broke the contract of bpf/abi.h: a bug of ours.
  uint64_t malformed() const { return malformed_; }

 private:
  RingReader() = default;
  static int OnRecord(void* self, void* data, size_t bytes);
  void Decode(std::span<const std::byte> record);
  void DecodeSample(std::span<const std::byte> record);
  // The frame as it is outside the kernel: its slot replaced by what that stands for.
  Frame UserFrame(uint64_t bits);
  void DecodeFile(std::span<const std::byte> record);

  RingSink* sink_ = nullptr;
  FileSlots* slots_ = nullptr;
  ring_buffer* ring_ = nullptr;
  Fd wake_;
  Fd epoll_;
  Sample sample_;  // Reused, so that a sample costs no allocation.
  std::atomic<uint64_t> malformed_{0};
};

// The components as the kernel sends them (leaf to root, each ended by NUL) as a path.
std::string PathFromComponents(std::string_view components);

}  // namespace hotpath
