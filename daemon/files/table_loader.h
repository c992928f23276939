// Unwind tables into the kernel: one map of exactly the right size a file, filled through memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "bpf/abi.h"
#include "bpf/unwind_abi.h"
#include "daemon/base/result.h"
#include "daemon/files/file_registry.h"
#include "daemon/profile/file_slots.h"

namespace hotpath {

// Owns which file has a table. Rules are shared by all files: about 2,000 distinct ones on a whole
// machine. When the cap is reached, the tables of the files that were sampled least lately go; such
// a file is asked for again when it is next sampled.
class TableLoader : public TableSink {
 public:
  struct Maps {  // Borrowed descriptors.
    int file_infos = -1, rules = -1, tables = -1;
  };
  // Borrows `slots`. Errors: kSystem when the maps cannot be mapped.
  static Result<std::unique_ptr<TableLoader>> Open(const Maps& maps, const FileSlots* slots,
                                                   uint64_t memory_cap_bytes);
  ~TableLoader() override;

  // The kernel side knows the file by this slot, until Release(). Load() of a file without a slot
  // is kNotFound.
  void Bind(FileId id, uint32_t slot);
  // Drops the file's table; the slot is as that of a file never seen.
  void Release(FileId id);

  // Another cap, from any thread; what is over it goes at the next Load() or EvictToCap().
  void SetCap(uint64_t memory_cap_bytes) { memory_cap_bytes_ = memory_cap_bytes; }
  void EvictToCap();

  Result<void> Load(FileId id, const FileIndex& index) override;
  void SetState(FileId id, hp_table_state state) override;
  bool Wants(FileId id) const override;

  struct Counters {
    uint64_t tables = 0, bytes = 0, rules = 0, evicted = 0, rules_dropped = 0;
  };
  Counters counters() const;
  uint64_t bytes() const { return bytes_; }  // Without waiting for a table that is loaded.

 private:
  TableLoader() = default;
  uint16_t GlobalRule(const hp_rule& rule);
  uint32_t SlotOf(
      FileId id) const;  // HP_FILE_NONE: it has none. With mutex_ held, as what follows.
  bool EvictColdest(uint32_t spared);
  void Drop(uint32_t slot, hp_table_state state);

  Maps maps_;
  const FileSlots* slots_ = nullptr;
  std::atomic<uint64_t> memory_cap_bytes_{0};
  hp_file_info* infos_ = nullptr;  // Mapped: HP_MAX_FILES entries.
  hp_rule* rules_ = nullptr;       // Mapped: HP_MAX_RULES entries, the first rule_count_ in use.
  mutable std::mutex mutex_;       // Guards all below.
  uint32_t rule_count_ = 1;        // rules_[0] is HP_CFA_NONE.
  std::unordered_map<std::string, uint16_t> rule_numbers_;  // Bytes of a rule -> its number.
  std::unordered_map<FileId, uint32_t> slot_of_;
  std::unordered_map<uint32_t, uint64_t> table_bytes_;  // Slot -> bytes of its table.
  std::atomic<uint64_t> bytes_{0};                      // Of all tables.
  uint64_t evicted_ = 0;
  uint64_t rules_dropped_ = 0;
};

}  // namespace hotpath
