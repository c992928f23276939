// Every file that was ever sampled: from FileId to path, build ID, symbols and lines.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "bpf/abi.h"
#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/base/strong_id.h"
#include "daemon/files/file_worker.h"
#include "daemon/files/symbol_index.h"

namespace hotpath {

// A file the kernel side saw for the first time.
struct NewFile {
  FileId id;
  hp_file_key key;
  uint64_t vma_start = 0, vma_end = 0;
  uint32_t pid = 0;
  std::string path;   // From the dentries, host's view; may be empty.
  uint32_t slot = 0;  // The kernel side's number of it.
};

// What is known of one file. Immutable; replaced as a whole.
struct FileFacts {
  FileId id;
  std::string path;
  std::string build_id;
  std::vector<ElfSegment> segments;
  std::string table_source = "none";
  uint64_t row_count = 0;
  std::string failure;  // Why there is no table; empty when there is one or none is needed.
  std::shared_ptr<const SymbolIndex> symbols;  // Shared by files of one build ID; may be null.
  std::shared_ptr<const Fd> binary;            // Kept open, so that deletion costs no lines.
  std::shared_ptr<const Fd> debug;             // Its debug file; may be null.
  std::shared_ptr<const Fd> alternate;         // What .gnu_debugaltlink names; may be null.
  bool has_debug_info = false;                 // binary or debug has .debug_info.

  // ELF virtual address of a file offset; nullopt outside every segment.
  std::optional<uint64_t> AddressOfOffset(uint64_t file_offset) const;
};

// Takes a built table into the kernel. Implemented by TableLoader.
class TableSink {
 public:
  virtual ~TableSink() = default;
  // Errors: kTooLarge when the memory cap leaves no room even after eviction.
  virtual Result<void> Load(FileId id, const FileIndex& index) = 0;
  // No table will come: HP_TABLE_FRAME_POINTER or HP_TABLE_FAILED.
  virtual void SetState(FileId id, hp_table_state state) = 0;
  // The kernel side waits for this file's table: it never came, or it was evicted.
  virtual bool Wants(FileId id) const = 0;
};

struct RegistryCounters {
  std::atomic<uint64_t> files_seen{0};  // NewFile events for distinct ids.
  std::atomic<uint64_t> files_indexed{0};
  std::atomic<uint64_t> files_forgotten{0};
  std::atomic<uint64_t> files_unopenable{0};  // Every process that mapped it was gone, so far.
  std::atomic<uint64_t> files_malformed{0};
  std::atomic<uint64_t> files_killed_worker{0};
  std::atomic<uint64_t> identity_mismatches{0};
  std::atomic<uint64_t> identity_other_device{0};  // Believed by inode and change time: overlayfs.
  std::atomic<uint64_t> symbol_bytes{0};
  std::atomic<uint64_t> cache_hits{0};  // By build ID, in memory.
};

// What is there beside a file: found by build ID and links. Either may be missing.
struct DebugFiles {
  Fd debug;
  Fd alternate;  // What .gnu_debugaltlink of the debug file, else of the file itself, names.
};

// Opens, identifies and indexes files. Add() on the files thread; Find() on any.
class FileRegistry {
 public:
  struct Options {
    std::string proc = "/proc";
    std::string debug_root = "/usr/lib/debug";
    std::string cache_dir;  // Where symbol indices live as files; empty: memfds.
    uint64_t cache_bytes = uint64_t{512} << 20;
    // Looks for the debug files of the file at `path`, which `facts` describes; `worker` describes
    // what it finds. Empty: there are none.
    std::function<DebugFiles(const FileIndex& facts, const std::string& path, FileWorker& worker)>
        find_debug;
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  };
  FileRegistry(Options options, FileWorker* worker, TableSink* sink);
  ~FileRegistry();

  // Opens the file through /proc/PID/map_files, else /proc/PID/root + path, else path; believes it
  // only when identity matches; indexes it in the worker, hands the table to the sink. A file that
  // killed the worker is tried once more, then not for an hour. May take seconds.
  // Errors are counted and logged once per file; the return says them for tests.
  Result<void> Add(const NewFile& file);
  // The vDSO (file id HP_FILE_VDSO), from our own process.
  Result<void> AddVdso();

  // What frames hold of files is found as long as this is held, also after Forget().
  std::shared_ptr<const void> Pin();
  // No sample of these files is to come. They go once nothing is held that was pinned before.
  // Files thread.
  void Forget(std::span<const FileId> ids);
  void DropForgotten();  // Those whose last pin is gone. Now and then.

  // nullptr: not indexed (yet), or forgotten.
  std::shared_ptr<const FileFacts> Find(FileId id) const;
  std::vector<std::shared_ptr<const FileFacts>> All() const;
  FileWorker& worker() { return *worker_; }
  const RegistryCounters& counters() const { return counters_; }

 private:
  const Options options_;
  FileWorker* const worker_;
  TableSink* const sink_;
  RegistryCounters counters_;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hotpath
