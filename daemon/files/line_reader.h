// From addresses of one file to source lines and inlined functions, by DWARF.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "daemon/base/result.h"

namespace hotpath {

struct SourceLine {
  std::string function;  // Linkage name where DWARF has one, else its plain name.
  std::string file;
  int64_t line = 0;        // 0: unknown.
  int64_t start_line = 0;  // Where the function is declared; 0: unknown.
};

// Reads with libdw, by pread; runs in the sandboxed child only. One thread.
class LineReader {
 public:
  // `fd`: the file that has .debug_info (the binary itself or its debug file). `alternate_fd`: what
  // .gnu_debugaltlink names (dwz), or -1. Borrowed; must outlive the reader.
  // Errors: kNotFound (no .debug_info), kMalformed.
  static Result<std::unique_ptr<LineReader>> Open(int fd, int alternate_fd);
  virtual ~LineReader() = default;
  // For an ELF virtual address, innermost inlined function first, the physical function last; empty
  // when DWARF does not cover it.
  virtual std::vector<SourceLine> Find(uint64_t address) = 0;
};

}  // namespace hotpath
