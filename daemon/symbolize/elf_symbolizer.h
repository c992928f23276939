// Names frames of all kinds: files by their symbol index and DWARF, kernel, JIT, and our own marks.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/files/file_registry.h"
#include "daemon/files/line_reader.h"
#include "daemon/symbolize/kernel_symbolizer.h"
#include "daemon/symbolize/perf_maps.h"
#include "daemon/symbolize/symbolizer.h"

namespace hotpath {

// Mapping of frames whose file has not been opened (yet): "[unknown]+0x1234", by file offset.
inline constexpr std::string_view kUnknownMapping = "[unknown]";

// One look-up of a batch costs a bisection and a demangling; lines are asked of the sandboxed
// worker once a file and batch, so give it all frames of a process at once. A file whose lines
// killed, held up or failed the worker gets names only for an hour. Borrows what it is made of.
// Thread-safe.
class ElfSymbolizer : public Symbolizer {
 public:
  using Lines = std::vector<std::vector<SourceLine>>;
  // Where it looks; the second constructor takes them from a registry.
  struct Sources {
    std::function<std::shared_ptr<const FileFacts>(FileId)> find_file;
    // As FileWorker::Lines.
    std::function<Result<Lines>(int fd, int alternate_fd, std::span<const uint64_t> addresses)>
        read_lines;
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  };
  ElfSymbolizer(Sources sources, KernelSymbolizer* kernel, PerfMaps* perf_maps);
  ElfSymbolizer(FileRegistry* files, KernelSymbolizer* kernel, PerfMaps* perf_maps);

  std::vector<SymbolizedFrame> Symbolize(const ProcessKey& process,
                                         std::span<const Frame> frames) override;
  std::string FileKey(FileId file) const override;

  // Requests for lines that failed: names were given without them.
  uint64_t failed_line_requests() const;

 private:
  struct LineFailures {
    uint64_t count = 0;
    std::chrono::steady_clock::time_point retry_at;
  };
  // Positions in a batch.
  using Positions = std::vector<size_t>;

  void SymbolizeFile(FileId file, std::span<const Frame> frames, const Positions& positions,
                     std::vector<SymbolizedFrame>* out);
  void SymbolizeKernel(Frame frame, SymbolizedFrame* out);
  void SymbolizeAnonymous(const ProcessKey& process, std::span<const Frame> frames,
                          const Positions& positions, std::vector<SymbolizedFrame>* out);
  // One list an address; all empty where there are none.
  Lines ReadLines(const FileFacts& file, const std::vector<uint64_t>& addresses);
  bool MayAskForLines(const FileFacts& file);
  std::shared_ptr<const MappingInfo> KernelMapping();

  const Sources sources_;
  KernelSymbolizer* const kernel_;
  PerfMaps* const perf_maps_;

  mutable std::mutex mutex_;  // Guards all below.
  std::shared_ptr<const MappingInfo> kernel_mapping_;
  std::unordered_map<FileId, LineFailures> line_failures_;
  uint64_t failed_line_requests_ = 0;
};

}  // namespace hotpath
