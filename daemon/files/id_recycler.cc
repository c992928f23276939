// The four steps of a slot from one file to the next.
#include "daemon/files/id_recycler.h"

#include <bpf/bpf.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "bpf/abi.h"

namespace hotpath {
namespace {

constexpr uint32_t kMaxBatch = 256;
constexpr uint32_t kMinIdle_s = 2;  // By a clock of whole seconds: at least one has passed.
// Where there is no grace period to be had (nohz_full): no program runs that long.
constexpr std::chrono::seconds kPatience{10};

// Waits until every BPF program that runs now has ended: this call is synchronize_rcu(), which
// waits for perf event programs. Twice, for a program's record may lie behind one that a later
// program has reserved and not filled yet. False where there is no grace period to be had.
bool WaitForPrograms() {
  for (int i = 0; i < 2; i++) {
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0) return false;
  }
  return true;
}

struct Numbered {
  hp_file_key key;
  uint32_t slot;
  uint32_t used_at_s;
};

std::vector<Numbered> ReadFiles(int files_fd, const FileSlots& slots) {
  std::vector<Numbered> all;
  hp_file_key key{};
  // The bound is for an iteration that starts again as keys come and go.
  for (const hp_file_key* previous = nullptr;
       all.size() < 2 * HP_MAX_FILES && bpf_map_get_next_key(files_fd, previous, &key) == 0;
       previous = &key) {
    uint32_t slot = 0;
    if (bpf_map_lookup_elem(files_fd, &key, &slot) != 0 || slot >= HP_MAX_FILES) continue;
    all.push_back({key, slot, slots.UsedAt(slot)});
  }
  return all;
}

}  // namespace

uint32_t IdRecycler::free_slots() const {
  const uint64_t in_use = kernel_.files_numbered() - given_back_;
  const uint64_t all = kernel_.max_files - HP_FILE_FIRST;
  return static_cast<uint32_t>(all - std::min(all, in_use));
}

std::vector<FileId> IdRecycler::TakeBack(const std::function<bool(FileId)>& spared) {
  {
    const std::lock_guard lock(mutex_);
    if (batch_ || free_slots() >= kernel_.max_files / 8) return {};
  }
  std::vector<Numbered> files = ReadFiles(kernel_.files_fd, *slots_);
  std::ranges::sort(files, {}, &Numbered::used_at_s);
  const uint32_t now_s = slots_->now_s();
  const uint32_t wanted = std::clamp(kernel_.max_files / 8, 1U, kMaxBatch);
  Batch batch;
  std::vector<FileId> losers;
  for (const Numbered& file : files) {
    if (batch.slots.size() >= wanted || file.used_at_s + kMinIdle_s > now_s) break;
    const FileId id = slots_->Current(file.slot);
    if (!slots_->Holds(file.slot, id) || spared(id)) continue;
    if (bpf_map_delete_elem(kernel_.files_fd, &file.key) != 0) continue;
    slots_->SetLeaving(file.slot);
    batch.slots.push_back(file.slot);
    losers.push_back(id);
  }
  if (losers.empty()) return {};
  kernel_.forget_mappings();
  if (!WaitForPrograms()) batch.not_before = std::chrono::steady_clock::now() + kPatience;
  const std::lock_guard lock(mutex_);
  batch_ = std::move(batch);
  return losers;
}

void IdRecycler::Release() {
  const std::lock_guard lock(mutex_);
  if (batch_) batch_->released = true;
}

void IdRecycler::BeforeRead() {
  const std::lock_guard lock(mutex_);
  if (batch_ && batch_->released && std::chrono::steady_clock::now() >= batch_->not_before) {
    batch_->reading = true;
  }
}

void IdRecycler::AfterRead() {
  const std::lock_guard lock(mutex_);
  if (!batch_ || !batch_->reading) return;
  constexpr uint64_t kNeverAsked = 0;
  for (const uint32_t slot : batch_->slots) {
    if (!slots_->Renew(slot)) continue;
    bpf_map_update_elem(kernel_.file_requests_fd, &slot, &kNeverAsked, BPF_ANY);
    if (bpf_map_update_elem(kernel_.free_file_ids_fd, nullptr, &slot, BPF_ANY) == 0) ++given_back_;
  }
  batch_.reset();
}

}  // namespace hotpath
