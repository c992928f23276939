// Filling of unwind table maps.
#include "daemon/files/table_loader.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>

namespace hotpath {
namespace {

size_t PageRounded(size_t bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

// An anonymous owner of a mapping.
class Mapping {
 public:
  Mapping(int fd, size_t bytes) : bytes_(PageRounded(bytes)) {
    data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (data_ != MAP_FAILED) munmap(data_, bytes_);
  }
  bool valid() const { return data_ != MAP_FAILED; }
  void* data() const { return data_; }

 private:
  void* data_;
  size_t bytes_;
};

// Reads `words` from a memfd in pieces, so that a large table is never twice in memory.
Result<void> CopyWords(int fd, std::span<uint32_t> words) {
  auto* at = reinterpret_cast<char*>(words.data());
  size_t left = words.size_bytes();
  off_t offset = 0;
  while (left > 0) {
    const ssize_t n = pread(fd, at, left, offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return FailErrno("read a built unwind table", n < 0 ? errno : EIO);
    at += n;
    offset += n;
    left -= static_cast<size_t>(n);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<TableLoader>> TableLoader::Open(const Maps& maps, const FileSlots* slots,
                                                       uint64_t memory_cap_bytes) {
  std::unique_ptr<TableLoader> loader(new TableLoader);
  loader->maps_ = maps;
  loader->slots_ = slots;
  loader->slot_of_[FileId{HP_FILE_VDSO}] = HP_FILE_VDSO;
  loader->memory_cap_bytes_ = memory_cap_bytes;
  void* infos = mmap(nullptr, PageRounded(sizeof(hp_file_info) * HP_MAX_FILES),
                     PROT_READ | PROT_WRITE, MAP_SHARED, maps.file_infos, 0);
  if (infos == MAP_FAILED) return FailErrno("map file_infos");
  loader->infos_ = static_cast<hp_file_info*>(infos);
  void* rules = mmap(nullptr, PageRounded(sizeof(hp_rule) * HP_MAX_RULES), PROT_READ | PROT_WRITE,
                     MAP_SHARED, maps.rules, 0);
  if (rules == MAP_FAILED) return FailErrno("map rules");
  loader->rules_ = static_cast<hp_rule*>(rules);
  return loader;
}

TableLoader::~TableLoader() {
  if (infos_ != nullptr) munmap(infos_, PageRounded(sizeof(hp_file_info) * HP_MAX_FILES));
  if (rules_ != nullptr) munmap(rules_, PageRounded(sizeof(hp_rule) * HP_MAX_RULES));
}

uint16_t TableLoader::GlobalRule(const hp_rule& rule) {
  if (rule.cfa_kind == HP_CFA_NONE) return HP_RULE_NONE;
  std::string bytes(reinterpret_cast<const char*>(&rule), sizeof(rule));
  const auto [it, is_new] = rule_numbers_.try_emplace(std::move(bytes), 0);
  if (!is_new) return it->second;
  if (rule_count_ >= HP_MAX_RULES) {
    rules_dropped_++;
    return HP_RULE_NONE;  // Remembered as such: counted once a rule.
  }
  rules_[rule_count_] = rule;
  it->second = static_cast<uint16_t>(rule_count_++);
  return it->second;
}

uint32_t TableLoader::SlotOf(FileId id) const {
  const auto slot = slot_of_.find(id);
  return slot == slot_of_.end() ? HP_FILE_NONE : slot->second;
}

void TableLoader::Bind(FileId id, uint32_t slot) {
  if (slot < HP_FILE_FIRST || slot >= HP_MAX_FILES) return;
  std::lock_guard lock(mutex_);
  slot_of_[id] = slot;
}

void TableLoader::Release(FileId id) {
  std::lock_guard lock(mutex_);
  const uint32_t slot = SlotOf(id);
  if (slot == HP_FILE_NONE) return;
  Drop(slot, HP_TABLE_PENDING);
  slot_of_.erase(id);
}

Result<void> TableLoader::Load(FileId id, const FileIndex& index) {
  if (index.word_count == 0 || index.word_count % HP_TABLE_LINE_WORDS != 0 ||
      index.info.rows_at > index.word_count) {
    return Fail(ErrorCode::kMalformed, "an unwind table of an impossible shape");
  }
  const uint64_t bytes = PageRounded(index.word_count * sizeof(uint32_t));
  std::lock_guard lock(mutex_);
  const uint32_t slot = SlotOf(id);
  if (slot == HP_FILE_NONE) return Fail(ErrorCode::kNotFound, "the file has no number any more");
  while (bytes_ + bytes > memory_cap_bytes_) {
    if (bytes > memory_cap_bytes_ || !EvictColdest(slot)) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("its unwind table of {} KiB finds no room under the cap of {} KiB",
                              bytes >> 10, memory_cap_bytes_.load() >> 10));
    }
  }
  std::vector<uint16_t> numbers(index.rules.size());
  std::ranges::transform(index.rules, numbers.begin(),
                         [&](const hp_rule& rule) { return GlobalRule(rule); });

  bpf_map_create_opts options{};
  options.sz = sizeof(options);
  options.map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP;
  const Fd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "hp_table", sizeof(uint32_t), HP_TABLE_LINE_BYTES,
                              static_cast<uint32_t>(index.word_count / HP_TABLE_LINE_WORDS),
                              &options));
  if (!map) return FailErrno("create an unwind table map");
  {
    const Mapping memory(map.get(), index.word_count * sizeof(uint32_t));
    if (!memory.valid()) return FailErrno("map an unwind table map");
    const std::span words(static_cast<uint32_t*>(memory.data()), index.word_count);
    if (Result<void> copied = CopyWords(index.words.get(), words); !copied) return copied;
    for (uint32_t& row : words.subspan(index.info.rows_at)) {
      const uint32_t local = row >> 16;
      const uint32_t global = local < numbers.size() ? numbers[local] : HP_RULE_NONE;
      row = (row & 0xffff) | global << 16;
    }
  }
  const int map_fd = map.get();
  if (bpf_map_update_elem(maps_.tables, &slot, &map_fd, BPF_ANY) != 0) {
    return FailErrno("put an unwind table in place");
  }
  bytes_ += bytes - table_bytes_[slot];
  table_bytes_[slot] = bytes;
  hp_file_info& info = infos_[slot];
  info.first_block = index.info.first_block;
  info.blocks = index.info.blocks;
  info.rows_at = index.info.rows_at;
  __atomic_store_n(&info.state, HP_TABLE_READY, __ATOMIC_RELEASE);
  return {};
}

void TableLoader::EvictToCap() {
  while (bytes_ > memory_cap_bytes_) {
    std::lock_guard lock(mutex_);  // For one at a time: the kernel lets each rest for some ms.
    if (!EvictColdest(HP_FILE_NONE)) return;
  }
}

void TableLoader::SetState(FileId id, hp_table_state state) {
  std::lock_guard lock(mutex_);
  if (const uint32_t slot = SlotOf(id); slot != HP_FILE_NONE) Drop(slot, state);
}

bool TableLoader::Wants(FileId id) const {
  std::lock_guard lock(mutex_);
  const uint32_t slot = SlotOf(id);
  return slot != HP_FILE_NONE &&
         __atomic_load_n(&infos_[slot].state, __ATOMIC_ACQUIRE) == HP_TABLE_PENDING;
}

void TableLoader::Drop(uint32_t slot, hp_table_state state) {
  __atomic_store_n(&infos_[slot].state, static_cast<uint32_t>(state), __ATOMIC_RELEASE);
  const auto it = table_bytes_.find(slot);
  if (it == table_bytes_.end()) return;
  bpf_map_delete_elem(maps_.tables, &slot);
  bytes_ -= it->second;
  table_bytes_.erase(it);
}

bool TableLoader::EvictColdest(uint32_t spared) {
  uint32_t coldest = 0;
  for (const auto& [slot, bytes] : table_bytes_) {
    if (slot == spared || slot == HP_FILE_VDSO || bytes == 0) continue;
    if (coldest == 0 || slots_->Heat(slot) < slots_->Heat(coldest)) coldest = slot;
  }
  if (coldest == 0) return false;
  Drop(coldest, HP_TABLE_PENDING);
  evicted_++;
  return true;
}

TableLoader::Counters TableLoader::counters() const {
  std::lock_guard lock(mutex_);
  return {.tables = table_bytes_.size(),
          .bytes = bytes_,
          .rules = rule_count_,
          .evicted = evicted_,
          .rules_dropped = rules_dropped_};
}

}  // namespace hotpath
