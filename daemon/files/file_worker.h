// Reads foreign files in a box: a child process without capabilities, under seccomp, with limits.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "daemon/base/fd.h"
#include "daemon/base/result.h"
#include "daemon/files/elf_file.h"
#include "daemon/files/line_reader.h"
#include "daemon/files/unwind_table.h"
#include "daemon/placement/placement.h"

namespace hotpath {

// What the child tells of one ELF file. The parent checks every number before it uses it.
struct FileIndex {
  std::string build_id;
  std::vector<ElfSegment> segments;  // To turn a file offset into an ELF virtual address.
  std::string table_source;          // "eh_frame", "debug_frame", "none".
  std::vector<hp_rule> rules;        // The file's own rules; words number them.
  hp_file_info info{};
  Fd words;  // A memfd with info's words (see UnwindTable::Words); sealed.
  size_t word_count = 0;
  size_t row_count = 0;
  Fd symbols;  // A memfd with the symbol index; sealed.
  size_t symbol_bytes = 0;
  std::string debug_link;          // .gnu_debuglink's name, empty when absent.
  uint32_t debug_link_crc = 0;     // CRC-32 of the file it names.
  std::string alternate_link;      // .gnu_debugaltlink's path, empty when absent.
  std::string alternate_build_id;  // Build ID of the file it names.
  bool has_debug_info = false;     // .debug_info in the file itself.
  size_t damaged = 0;              // FDEs that could not be read.
  std::string table_failure;       // Why there are no words though the file has unwind sections.
  std::string symbol_failure;      // Why there are no symbols.
};

struct WorkerLimits {
  uint64_t memory_bytes = uint64_t{1} << 30;
  std::chrono::milliseconds index_timeout{10'000};
  std::chrono::milliseconds lines_timeout{10'000};
};

// Owns two children, so that tables do not wait for lines: one describes and indexes, one reads
// lines and keeps the last few files' DWARF. Each starts when first needed, and again after it
// died; each leaves after 30 s without a request, which gives its memory back. Thread-safe: one
// request of a kind at a time (locked). Starting a child took 4 ms, a request without work 0.1 ms.
class FileWorker {
 public:
  // The child is `program` (normally /proc/self/exe) run with the one argument kChildArgument.
  explicit FileWorker(WorkerLimits limits = {}, std::string program = "/proc/self/exe");
  ~FileWorker();

  // Errors of all four: kMalformed, kTooLarge, kUnsupported (from the child: the file's fault);
  // kUnavailable when the child died on the file, kTimeout when it was ended: the file is to blame;
  // kSystem when no child can be started or boxed in.

  // What the ELF headers say, without table and symbols: build ID, segments, links. Fast.
  Result<FileIndex> Describe(int fd);
  // `debug_fd`: its debug file, or -1. Without `want_symbols` there is a table only.
  Result<FileIndex> Index(int fd, int debug_fd, bool want_symbols = true);
  // One list of inlined frames for each address, in order.
  Result<std::vector<std::vector<SourceLine>>> Lines(int fd, int alternate_fd,
                                                     std::span<const uint64_t> addresses);
  // The allocator's functions in the file, and where probes may sit. See PlaceProbes().
  Result<Placement> Place(int fd);
  // Reaps children that left for want of work. Call it now and then, or they stay as zombies.
  void EndIdleChildren();
  // CPU time of the children that live now.
  uint64_t LiveCpuNs() const;
  // Counted since start.
  uint64_t children_started() const;
  uint64_t children_died() const;

  static constexpr const char* kChildArgument = "--file-worker";
  // To be called first in main(): runs the child's loop and exits when argv asks for it.
  static void RunChildIfAsked(int argc, char** argv);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hotpath
