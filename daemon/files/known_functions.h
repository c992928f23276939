// Code whose frames CFI does not tell of, but its name or its bytes do.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "daemon/files/code_ranges.h"
#include "daemon/files/elf_file.h"

namespace hotpath {

// Functions of the file's symbol table and sections, each list sorted and disjoint.
struct KnownFunctions {
  // Where signal handlers return to: mov $15,%eax; syscall. From one byte before, for there the
  // walk looks, as with every return address. Go has rules for them that are wrong, musl has none.
  std::vector<CodeRange> signal_returns;
  // The first functions of musl's threads. Only right where no FDE covers them.
  std::vector<CodeRange> roots;
  // _init and _fini, which glibc's start files make a section each of and describe in no FDE: the
  // bytes before, behind and between their push and pop. A library's first page fault is theirs.
  std::vector<CodeRange> depths;
};

// No symbols for a file without .symtab or with one of more than 4 MiB.
KnownFunctions FindKnownFunctions(const ElfFile& elf, const ExecutableMap& code);

// The code that has no FDE but keeps frame pointers: file offsets, empty when there is none.
struct FramePointerCode {
  uint64_t begin = UINT64_MAX, end = 0;
  bool empty() const { return begin >= end; }
};

// Go keeps frame pointers, and tells so in no table once it is stripped. Whoever else leaves out
// the FDEs of most code does so where frame pointers replace them (Chromium: 8,852 FDEs, 668,454
// times push %rbp; mov %rsp,%rbp) or to save space (musl: none). 64 KiB of the code tell which.
// `ranges`: what FDEs cover.
FramePointerCode FindFramePointerCode(const ElfFile& elf, const ExecutableMap& code,
                                      std::span<const CodeRange> ranges);

}  // namespace hotpath
