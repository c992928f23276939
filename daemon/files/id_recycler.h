// Takes the kernel side's file numbers back from files that were not sampled for longest.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "daemon/base/strong_id.h"
#include "daemon/profile/file_slots.h"

namespace hotpath {

// There are 8,192 slots, and a machine that builds or updates software meets more files than that.
// A slot goes from one file to another in this order, so that no frame is ever read as another's:
//   1. the file leaves the kernel's map, and found mappings are forgotten: programs that begin now
//      give the file another slot;                                            files thread
//   2. programs that began before have ended (a grace period of RCU), and so has whatever they had
//      to wait for in the ring (another one);                                 files thread
//   3. the reader reads all that the ring holds;                              reader
//   4. the slot gets a new FileId and may be given again.                     reader
class IdRecycler {
 public:
  struct Kernel {
    int files_fd = -1, free_file_ids_fd = -1, file_requests_fd = -1;  // Borrowed.
    uint32_t max_files = 0;
    std::function<uint64_t()> files_numbered;
    std::function<void()> forget_mappings;
  };
  IdRecycler(Kernel kernel, FileSlots* slots) : kernel_(std::move(kernel)), slots_(slots) {}

  // Files thread, often: does nothing while an eighth of the slots is free. Returns the files that
  // lost theirs: at most 256, none of which `spared` holds for or that was sampled within the last
  // second. May take some 10 ms.
  std::vector<FileId> TakeBack(const std::function<bool(FileId)>& spared);
  // The caller has dropped what the kernel side holds of those files: their slots may be given.
  void Release();

  // Reader's thread, around a read of all that the ring holds.
  void BeforeRead();
  void AfterRead();

  uint64_t recycled() const { return given_back_; }
  uint32_t free_slots() const;

 private:
  struct Batch {
    std::vector<uint32_t> slots;
    bool released = false;
    std::chrono::steady_clock::time_point not_before;
    bool reading = false;  // The reader began to read after all of its samples were in the ring.
  };

  const Kernel kernel_;
  FileSlots* const slots_;
  std::atomic<uint64_t> given_back_{0};
  std::mutex mutex_;  // Guards batch_.
  std::optional<Batch> batch_;
};

}  // namespace hotpath
