// What the kernel side's few file numbers stand for: slots that are given again, FileIds that are
// not.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "daemon/base/strong_id.h"
#include "daemon/profile/frame.h"

namespace hotpath {

// One row a slot. The reader writes ids and use; IdRecycler marks what leaves; any thread reads.
//
// A record from the ring means the slot's current FileId. That changes only when the reader has
// seen every record that holds the slot for its old file (see IdRecycler), so no sample is named
// wrong.
class FileSlots {
 public:
  static constexpr uint32_t kCount = 8192;  // HP_MAX_FILES.

  FileSlots() {
    for (uint32_t slot = 0; slot < kCount; slot++) rows_.at(slot).id = slot;
  }

  FileId Current(uint32_t slot) const {
    return {slot < kCount ? rows_[slot].id.load(std::memory_order_acquire) : 0};
  }
  // The slot's file is `id`, and the slot is not being taken from it.
  bool Holds(uint32_t slot, FileId id) const {
    return slot < kCount && !rows_[slot].leaving.load(std::memory_order_acquire) &&
           Current(slot) == id;
  }
  uint32_t Heat(uint32_t slot) const { return rows_.at(slot).heat; }
  uint32_t UsedAt(uint32_t slot) const { return rows_.at(slot).used_at_s; }
  uint32_t now_s() const { return now_s_; }

  void SetLeaving(uint32_t slot) { rows_.at(slot).leaving.store(true, std::memory_order_release); }

  // The rest is for the reader's thread.
  void SetNow(uint32_t now_s) { now_s_ = now_s; }
  void NoteUse(uint32_t slot) {
    if (slot >= kCount) return;
    std::atomic<uint32_t>& heat = rows_[slot].heat;
    heat.store(heat.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    rows_[slot].used_at_s.store(now_s_, std::memory_order_relaxed);
  }
  // About once a minute: halves all heat, so that it fades.
  void Cool() {
    for (Row& row : rows_) row.heat = row.heat / 2;
  }
  // From now on the slot is another file's. False when the FileIds are used up (67 million).
  bool Renew(uint32_t slot) {
    if (next_id_ > Frame::kFileMask) return false;
    Row& row = rows_.at(slot);
    row.id.store(next_id_++, std::memory_order_release);
    row.heat = 0;
    row.used_at_s = now_s_.load();
    row.leaving.store(false, std::memory_order_release);  // Last: see Holds.
    return true;
  }

 private:
  struct Row {
    std::atomic<uint32_t> id{0};
    std::atomic<uint32_t> heat{0};       // Frames sampled, halved each minute.
    std::atomic<uint32_t> used_at_s{0};  // By now_s.
    std::atomic<bool> leaving{false};
  };
  std::array<Row, kCount> rows_;
  std::atomic<uint32_t> now_s_{0};  // Seconds of a steady clock.
  uint32_t next_id_ = kCount;
};

}  // namespace hotpath
