// From frames to names, files and lines.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "daemon/profile/frame.h"
#include "daemon/profile/sample.h"

namespace hotpath {

// One function at one place of its source. An address has several where calls were inlined.
struct SourceFrame {
  std::string function;         // Demangled, without parameters and template arguments.
  std::string system_function;  // As the symbol table has it (mangled); equal to function for C.
  std::string file;             // Path as the compiler saw it; empty when unknown.
  int64_t line = 0;             // 0: unknown.
  int64_t start_line = 0;       // Of the function; 0: unknown.
};

// The binary a frame lies in, as a pprof mapping: addresses are the ELF's own, start is 0.
struct MappingInfo {
  std::string file;      // Path; "[kernel.kallsyms]", "[vdso]", "[jit]", "[hotpath]"
  std::string build_id;  // Lower-case hex; empty when there is none.
  // How the frames of this file are unwound: "eh_frame", "debug_frame", "frame_pointer", "none".
  std::string table = "none";
  uint64_t table_rows = 0;
  friend auto operator<=>(const MappingInfo&, const MappingInfo&) = default;
};

struct SymbolizedFrame {
  uint64_t address = 0;                        // ELF virtual address; kernel or process address.
  std::shared_ptr<const MappingInfo> mapping;  // Shared between frames of one binary; never null.
  bool named = false;              // The name comes from a symbol, not from "file+0x...".
  std::vector<SourceFrame> lines;  // Innermost inlined function first; never empty.
};

// Thread-safe. Never fails: a frame that nothing names is called "libfoo.so+0x1234" after the start
// of its function, or "[anon]+0x...".
class Symbolizer {
 public:
  virtual ~Symbolizer() = default;
  // `process` is used by kAnonymous frames only (JIT code).
  virtual std::vector<SymbolizedFrame> Symbolize(const ProcessKey& process,
                                                 std::span<const Frame> frames) = 0;
  // What the answers for a file's frames depend on, for caches: its build ID, path and what of its
  // symbols is there. Empty: nothing is known of the file yet, so its answers must not be kept.
  virtual std::string FileKey(FileId) const { return {}; }
};

}  // namespace hotpath
