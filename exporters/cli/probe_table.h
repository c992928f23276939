// What `hotpath probes` tells: where probes would sit, in which class of cost, and why not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hotpath::cli {

// What is asked about: one of the two.
struct ProbeTarget {
  std::optional<uint32_t> pid;
  std::string file;
};

// One function.
struct ProbeRow {
  std::string function;
  std::vector<std::string> aliases;     // Other names of the same code.
  std::optional<uint64_t> offset;       // Of the first probe in the file; nullopt: refused.
  std::string instruction;              // Of that probe.
  std::optional<uint64_t> pair_offset;  // Of the second, where there is one.
  std::string pair_instruction;
  std::string probe_class;             // "emulated", "nop", "stepped", "refused".
  std::vector<std::string> arguments;  // "size=rdi".
  std::vector<std::string> enters;     // Functions that a call of this one may enter.
  std::string why;
};

// One file with an allocator, or asked for by name.
struct ProbeTable {
  std::string file, build_id, allocator;  // The last two may be empty.
  std::optional<bool> live;               // Of a process: its calls go here.
  std::string why;                        // Why not.
  std::vector<ProbeRow> rows;
};

// Of the first table as cli.md says; what else a process maps is under "others". Never empty.
std::string ProbesText(const std::vector<ProbeTable>& tables);
std::string ProbesJson(const std::vector<ProbeTable>& tables);
std::string ProbesCsv(const std::vector<ProbeTable>& tables);

}  // namespace hotpath::cli
