// From a NewFile event to a table in the kernel and facts for whoever reads profiles.
#include "daemon/files/file_registry.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include <algorithm>
#include <fstream>
#include <shared_mutex>

#include "daemon/files/file_identity.h"
#include "daemon/files/symbol_cache.h"

namespace hotpath {
namespace {

constexpr std::chrono::hours kRetryAfter{1};  // For a file that killed the worker twice.
constexpr uint64_t kMaxVdsoBytes = 1 << 20;
constexpr uint64_t kMaxWarnings = 32;  // Others' files must not fill our log.

// The error is the worker child's end on this file.
bool KilledWorker(const Error& error) {
  return error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kTimeout;
}

// The error is the file's own: another attempt would end the same.
bool FileIsToBlame(const Error& error) {
  return error.code == ErrorCode::kMalformed || error.code == ErrorCode::kTooLarge ||
         error.code == ErrorCode::kUnsupported || error.code == ErrorCode::kNotFound;
}

bool SameKey(const hp_file_key& a, const hp_file_key& b) {
  return a.inode == b.inode && a.ctime_ns == b.ctime_ns && a.device == b.device &&
         a.generation == b.generation;
}

// Our own vDSO, which is every process's, copied while nothing can change it.
Result<Fd> CopyVdso() {
  const uint64_t start = getauxval(AT_SYSINFO_EHDR);
  if (start == 0) return Fail(ErrorCode::kNotFound, "this process has no vDSO");
  uint64_t end = 0;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; end == 0 && std::getline(maps, line);) {
    uint64_t from = 0;
    uint64_t to = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx", &from, &to) == 2 && from == start) end = to;
  }
  if (end <= start || end - start > kMaxVdsoBytes) {
    return Fail(ErrorCode::kNotFound, "/proc/self/maps does not show the vDSO");
  }
  Fd fd(memfd_create("hotpath-vdso", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return FailErrno("memfd_create for the vDSO");
  const size_t bytes = end - start;
  // The auxiliary vector has addresses as numbers. NOLINTNEXTLINE(performance-no-int-to-ptr)
  const void* vdso = reinterpret_cast<const void*>(start);
  if (pwrite(fd.get(), vdso, bytes, 0) != static_cast<ssize_t>(bytes)) {
    return FailErrno("copy the vDSO");
  }
  fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
  return fd;
}

}  // namespace

std::optional<uint64_t> FileFacts::AddressOfOffset(uint64_t file_offset) const {
  for (const ElfSegment& segment : segments) {
    if (file_offset >= segment.file_offset &&
        file_offset - segment.file_offset < segment.file_bytes) {
      return segment.address + (file_offset - segment.file_offset);
    }
  }
  return std::nullopt;
}

struct FileRegistry::Impl {
  using Clock = std::chrono::steady_clock;

  // What Add() remembers of an id. Used under add_mutex only.
  struct Attempt {
    hp_file_key key{};
    bool done = false;
    bool logged = false;
    std::optional<Error> failure;   // Of the last attempt that is not to be repeated...
    Clock::time_point retry_after;  // ...before this.
  };

  Impl(const Options& all, FileWorker* the_worker, TableSink* the_sink, RegistryCounters* numbers)
      : options(all),
        worker(the_worker),
        sink(the_sink),
        counters(numbers),
        cache(all.cache_dir, all.cache_bytes) {}

  Result<void> AddOpened(FileId id, Fd binary, uint64_t bytes, std::string path, Attempt& attempt);
  Result<FileIndex> Index(int fd, uint64_t bytes, FileFacts& facts);
  Result<void> TakeTable(FileId id, const FileIndex& index, FileFacts& facts);
  void Warn(Attempt& attempt, const std::string& path, const Error& error);

  void Publish(FileFacts facts) {
    auto shared = std::make_shared<const FileFacts>(std::move(facts));
    const std::unique_lock lock(files_mutex);
    files[shared->id] = std::move(shared);
  }

  const Options& options;
  FileWorker* const worker;
  TableSink* const sink;
  RegistryCounters* const counters;

  std::mutex add_mutex;  // One Add() at a time.
  std::unordered_map<FileId, Attempt> attempts;
  SymbolCache cache;
  uint64_t warnings = 0;

  // Files that are gone for the kernel side, and who may still ask for them.
  struct Forgotten {
    std::vector<FileId> ids;
    std::vector<std::weak_ptr<const void>> pins;
  };
  std::mutex pins_mutex;  // Guards these two.
  std::vector<std::weak_ptr<const void>> pins;
  std::vector<Forgotten> forgotten;

  mutable std::shared_mutex files_mutex;  // Held for a look-up or an exchange of a pointer.
  std::unordered_map<FileId, std::shared_ptr<const FileFacts>> files;
};

void FileRegistry::Impl::Warn(Attempt& attempt, const std::string& path, const Error& error) {
  if (std::exchange(attempt.logged, true) || warnings > kMaxWarnings) return;
  ++warnings;
  spdlog::warn("no unwind table for {:?}: {}{}", path, error.message,
               warnings > kMaxWarnings ? "; further files are only counted" : "");
}

// One pass through the worker; fills what the facts have from debug files and symbols.
Result<FileIndex> FileRegistry::Impl::Index(int fd, uint64_t bytes, FileFacts& facts) {
  auto described = worker->Describe(fd);
  if (!described) return described;
  facts.has_debug_info = described->has_debug_info;
  facts.debug.reset();
  facts.alternate.reset();
  if (options.find_debug) {
    DebugFiles found = options.find_debug(*described, facts.path, *worker);
    if (found.debug) facts.debug = std::make_shared<const Fd>(std::move(found.debug));
    if (found.alternate) facts.alternate = std::make_shared<const Fd>(std::move(found.alternate));
    if (facts.debug) {
      const auto debug = worker->Describe(facts.debug->get());
      if (debug && debug->has_debug_info) facts.has_debug_info = true;
    }
  }
  const std::string name = SymbolCache::Name(described->build_id, bytes, facts.debug != nullptr);
  facts.symbols = cache.Find(name);
  if (facts.symbols) ++counters->cache_hits;
  auto index = worker->Index(fd, facts.debug ? facts.debug->get() : -1, facts.symbols == nullptr);
  if (!index) return index;
  if (!facts.symbols && index->symbol_bytes > 0) {
    auto put = cache.Put(name, index->symbols, index->symbol_bytes);
    if (put) {
      facts.symbols = std::move(*put);
      counters->symbol_bytes += index->symbol_bytes;
    } else {
      index->symbol_failure = put.error().message;
    }
  }
  if (!index->symbol_failure.empty()) {
    spdlog::debug("no symbols of {:?}: {}", facts.path, index->symbol_failure);
  }
  index->symbols.Reset();  // Mapped or on disk by now.
  return index;
}

Result<void> FileRegistry::Impl::TakeTable(FileId id, const FileIndex& index, FileFacts& facts) {
  facts.table_source = index.table_source;
  facts.row_count = index.row_count;
  Result<void> taken;
  if (!index.table_failure.empty()) {
    ++counters->files_malformed;
    taken = Fail(ErrorCode::kMalformed, index.table_failure);
  } else if (index.word_count == 0) {
    sink->SetState(id, HP_TABLE_FRAME_POINTER);
    return {};
  } else {
    taken = sink->Load(id, index);
  }
  if (!taken) {
    facts.failure = taken.error().message;
    sink->SetState(id, HP_TABLE_FAILED);
  }
  return taken;
}

Result<void> FileRegistry::Impl::AddOpened(FileId id, Fd binary, uint64_t bytes, std::string path,
                                           Attempt& attempt) {
  FileFacts facts;
  facts.id = id;
  facts.path = std::move(path);
  auto index = Index(binary.get(), bytes, facts);
  // Once more with a new child: the first may have died of something else.
  if (!index && KilledWorker(index.error())) index = Index(binary.get(), bytes, facts);
  facts.binary = std::make_shared<const Fd>(std::move(binary));

  if (!index) {
    const Error& error = index.error();
    if (!KilledWorker(error) && !FileIsToBlame(error)) {  // No child, no memfd: our trouble.
      Warn(attempt, facts.path, error);
      return std::unexpected(error);
    }
    ++(KilledWorker(error) ? counters->files_killed_worker : counters->files_malformed);
    Warn(attempt, facts.path, error);
    attempt.failure = error;
    attempt.retry_after =
        KilledWorker(error) ? options.now() + kRetryAfter : Clock::time_point::max();
    facts.failure = error.message;
    facts.symbols.reset();
    sink->SetState(id, HP_TABLE_FAILED);
    Publish(std::move(facts));
    return std::unexpected(error);
  }

  facts.build_id = index->build_id;
  facts.segments = index->segments;
  auto taken = TakeTable(id, *index, facts);
  if (!taken) Warn(attempt, facts.path, taken.error());
  ++counters->files_indexed;
  attempt.done = true;
  attempt.failure.reset();
  Publish(std::move(facts));
  return taken;
}

FileRegistry::FileRegistry(Options options, FileWorker* worker, TableSink* sink)
    : options_(std::move(options)),
      worker_(worker),
      sink_(sink),
      impl_(std::make_unique<Impl>(options_, worker, sink, &counters_)) {}
FileRegistry::~FileRegistry() = default;

Result<void> FileRegistry::Add(const NewFile& file) {
  const std::lock_guard lock(impl_->add_mutex);
  auto [it, fresh] = impl_->attempts.try_emplace(file.id);
  Impl::Attempt& attempt = it->second;
  if (fresh || !SameKey(attempt.key, file.key)) {  // A file changed while it was being met.
    attempt = {.key = file.key, .failure = std::nullopt, .retry_after = {}};
    ++counters_.files_seen;
    const std::unique_lock files_lock(impl_->files_mutex);
    impl_->files.erase(file.id);
  }
  // An indexed file whose table was evicted is read again; any other sighting of it is late.
  if (attempt.done && !sink_->Wants(file.id)) return {};
  if (attempt.failure && options_.now() < attempt.retry_after) {
    return std::unexpected(*attempt.failure);
  }
  auto opened =
      OpenMappedFile(options_.proc, {file.key, file.vma_start, file.vma_end, file.pid, file.path});
  if (!opened) {
    ++counters_.files_unopenable;
    if (opened.error().code == ErrorCode::kInvalidArgument) ++counters_.identity_mismatches;
    if (!std::exchange(attempt.logged, true)) {
      spdlog::debug("file {} of pid {}: {}", file.id.value, file.pid, opened.error().message);
    }
    return std::unexpected(opened.error());
  }
  if (opened->identity == Identity::kSameInodeElsewhere ||
      opened->identity == Identity::kSameTimeOnOverlay) {
    ++counters_.identity_other_device;
  }
  return impl_->AddOpened(file.id, std::move(opened->fd), opened->bytes, std::move(opened->path),
                          attempt);
}

Result<void> FileRegistry::AddVdso() {
  const std::lock_guard lock(impl_->add_mutex);
  constexpr FileId kVdso{HP_FILE_VDSO};
  Impl::Attempt& attempt = impl_->attempts[kVdso];
  if (attempt.done) return {};
  auto copy = CopyVdso();
  if (!copy) return std::unexpected(copy.error());
  const auto bytes = static_cast<uint64_t>(lseek(copy->get(), 0, SEEK_END));
  ++counters_.files_seen;
  return impl_->AddOpened(kVdso, std::move(*copy), bytes, "[vdso]", attempt);
}

std::shared_ptr<const void> FileRegistry::Pin() {
  auto pin = std::make_shared<const char>();
  const std::lock_guard lock(impl_->pins_mutex);
  std::erase_if(impl_->pins, [](const auto& other) { return other.expired(); });
  impl_->pins.push_back(pin);
  return pin;
}

void FileRegistry::Forget(std::span<const FileId> ids) {
  {
    const std::lock_guard lock(impl_->add_mutex);
    for (const FileId id : ids) impl_->attempts.erase(id);
  }
  {
    const std::lock_guard lock(impl_->pins_mutex);
    impl_->forgotten.push_back({.ids = {ids.begin(), ids.end()}, .pins = impl_->pins});
  }
  DropForgotten();
}

void FileRegistry::DropForgotten() {
  std::vector<std::shared_ptr<const FileFacts>> dropped;  // Closed and unmapped without a lock.
  const std::lock_guard lock(impl_->pins_mutex);
  std::erase_if(impl_->forgotten, [&](const Impl::Forgotten& some) {
    if (!std::ranges::all_of(some.pins, [](const auto& pin) { return pin.expired(); })) {
      return false;
    }
    const std::unique_lock files_lock(impl_->files_mutex);
    for (const FileId id : some.ids) {
      const auto it = impl_->files.find(id);
      if (it == impl_->files.end()) continue;
      dropped.push_back(std::move(it->second));
      impl_->files.erase(it);
    }
    counters_.files_forgotten += some.ids.size();
    return true;
  });
}

std::shared_ptr<const FileFacts> FileRegistry::Find(FileId id) const {
  const std::shared_lock lock(impl_->files_mutex);
  const auto it = impl_->files.find(id);
  return it == impl_->files.end() ? nullptr : it->second;
}

std::vector<std::shared_ptr<const FileFacts>> FileRegistry::All() const {
  const std::shared_lock lock(impl_->files_mutex);
  std::vector<std::shared_ptr<const FileFacts>> all;
  all.reserve(impl_->files.size());
  for (const auto& [id, facts] : impl_->files) all.push_back(facts);
  std::ranges::sort(all, {}, [](const auto& facts) { return facts->id; });
  return all;
}

}  // namespace hotpath
