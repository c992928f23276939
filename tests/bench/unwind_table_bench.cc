// How long an ELF file takes to become an unwind table, and how large the table is.
//
// Counters: elf = bytes of the file a second; rows; bytes_per_row = all words of the table over its
// rows; bytes = the table; functions; rules.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <vector>

#include "daemon/base/fd.h"
#include "daemon/files/unwind_table.h"

namespace hotpath {
namespace {

// The file is read anew each time; the page cache has it.
void BuildTable(benchmark::State& state, const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  uint64_t file_bytes = 0;
  size_t rows = 0, words = 0, functions = 0, rules = 0;
  while (state.KeepRunning()) {
    auto elf = ElfFile::Open(fd.get());
    if (!elf) return state.SkipWithError(elf.error().message.c_str());
    auto table = UnwindTable::FromElf(*elf);
    if (!table) return state.SkipWithError(table.error().message.c_str());
    const UnwindTable::Words built = table->ToWords();
    benchmark::DoNotOptimize(built.words.data());
    file_bytes = elf->file_bytes();
    rows = table->rows().size();
    words = built.words.size();
    functions = table->functions().size();
    rules = table->rules().size();
  }
  using benchmark::Counter;
  const auto bytes = static_cast<double>(words * sizeof(uint32_t));
  state.counters["elf"] = Counter(static_cast<double>(file_bytes),
                                  Counter::kIsIterationInvariantRate, Counter::kIs1000);
  state.counters["bytes"] = bytes;
  state.counters["rows"] = static_cast<double>(rows);
  state.counters["bytes_per_row"] = bytes / static_cast<double>(rows);
  state.counters["functions"] = static_cast<double>(functions);
  state.counters["rules"] = static_cast<double>(rules);
}

const bool kRegistered = [] {
  for (const char* path :
       {"/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
        "/usr/lib/x86_64-linux-gnu/libLLVM-14.so.1", "/usr/lib/x86_64-linux-gnu/libLLVM.so.19.1",
        "/usr/lib/gcc/x86_64-linux-gnu/12/cc1plus"}) {
    if (!std::filesystem::exists(path)) continue;
    const std::string name =
        fmt::format("BuildTable/{}", std::filesystem::path(path).filename().string());
    benchmark::RegisterBenchmark(name.c_str(), BuildTable, path)->Unit(benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
}  // namespace hotpath
