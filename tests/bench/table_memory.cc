// Where unwind tables live in the kernel, decided by measuring: an array of exact size for each
// file inside an array of maps (nested), or one array of fixed size whose pages we give out (flat).
//
//   bench_table_memory ELF_FILE...       looks rules of the first file up, loads all
//   bench_table_memory --save OUT FILE   writes the table of a file, for a machine without it
//   bench_table_memory --saved FILE...   takes such tables
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "bpf/abi.h"
#include "daemon/base/fd.h"
#include "daemon/files/unwind_table.h"
#include "table_memory.skel.h"

namespace hotpath {
namespace {

constexpr uint32_t kFile = 2;                 // BENCH_FILE
constexpr uint64_t kFlatBytes = 24ULL << 20;  // The daemon's cap on tables.
constexpr uint64_t kOffsets = 1 << 20;
constexpr uint64_t kPage = 4096;
constexpr int kRepetitions = 5;

using Table = UnwindTable::Words;
using Clock = std::chrono::steady_clock;

double Milliseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

std::optional<Table> Build(const char* path) {
  const Fd fd(open(path, O_RDONLY | O_CLOEXEC));
  auto elf = ElfFile::Open(fd.get());
  if (!elf) return std::nullopt;
  auto table = UnwindTable::FromElf(*elf);
  if (!table) return std::nullopt;
  return table->ToWords();
}

void Save(const Table& table, const char* path) {
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&table.info), sizeof(table.info));
  out.write(reinterpret_cast<const char*>(table.words.data()),
            static_cast<std::streamsize>(table.words.size() * sizeof(uint32_t)));
}

std::optional<Table> LoadSaved(const char* path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  Table table{};
  const auto bytes = static_cast<uint64_t>(in.tellg());
  if (!in || bytes <= sizeof(table.info)) return std::nullopt;
  table.words.resize((bytes - sizeof(table.info)) / sizeof(uint32_t));
  in.seekg(0);
  in.read(reinterpret_cast<char*>(&table.info), sizeof(table.info));
  in.read(reinterpret_cast<char*>(table.words.data()),
          static_cast<std::streamsize>(table.words.size() * sizeof(uint32_t)));
  return table;
}

// What the kernel says a map takes.
uint64_t MapBytes(int fd) {
  std::ifstream in(fmt::format("/proc/self/fdinfo/{}", fd));
  std::string name;
  while (in >> name) {
    uint64_t bytes = 0;
    if (name == "memlock:" && in >> bytes) return bytes;
  }
  return 0;
}

uint64_t TableBytes(const Table& table) { return table.words.size() * sizeof(uint32_t); }

void* Map(int fd, uint64_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) {
    perror("mmap of a BPF map");
    exit(1);
  }
  return at;
}

// As the daemon does: a map of exactly this size, filled through memory. Returns its memory.
uint64_t LoadNested(const Table& table, int tables, uint32_t file) {
  bpf_map_create_opts options{};
  options.sz = sizeof(options);
  options.map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP;
  const auto lines = static_cast<uint32_t>(table.words.size() / HP_TABLE_LINE_WORDS);
  const Fd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "hp_table", sizeof(uint32_t), HP_TABLE_LINE_BYTES,
                              lines, &options));
  const uint64_t bytes = (TableBytes(table) + kPage - 1) / kPage * kPage;
  void* at = Map(map.get(), bytes);
  memcpy(at, table.words.data(), TableBytes(table));
  munmap(at, bytes);
  const int fd = map.get();
  if (bpf_map_update_elem(tables, &file, &fd, BPF_ANY) != 0) {
    perror("put a table in place");
    exit(1);
  }
  return MapBytes(map.get());
}

// Fastest of some runs, ns an offset; the sum goes to *sum.
double Run(const bpf_program* program, table_memory_bpf* bpf, uint64_t* sum) {
  double best = 1e9;
  for (int i = 0; i < kRepetitions; ++i) {
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    if (bpf_prog_test_run_opts(bpf_program__fd(program), &options) != 0) {
      perror("bpf_prog_test_run");
      exit(1);
    }
    best = std::min(best, static_cast<double>(bpf->bss->run_ns) / kOffsets);
  }
  *sum = bpf->bss->sum;
  return best;
}

int Measure(const std::vector<Table>& files) {
  table_memory_bpf* bpf = table_memory_bpf__open();
  if (bpf == nullptr) return 1;
  bpf_map__set_max_entries(bpf->maps.flat_tables, kFlatBytes / HP_TABLE_LINE_BYTES);
  if (table_memory_bpf__load(bpf) != 0) return 1;

  // Anywhere in the code.
  const Table& first = files.front();
  auto* offsets = static_cast<uint64_t*>(Map(bpf_map__fd(bpf->maps.offsets), kOffsets * 8));
  std::mt19937_64 random(1);
  std::generate_n(offsets, kOffsets, [&] {
    return (first.info.first_block + random() % first.info.blocks) * 1024 + random() % 1024;
  });
  auto* infos = static_cast<hp_file_info*>(
      Map(bpf_map__fd(bpf->maps.file_infos), sizeof(hp_file_info) * HP_MAX_FILES));
  infos[kFile] = first.info;

  uint64_t used = 0, nested_bytes = 0;
  double nested_ms = 1e9, flat_ms = 1e9;
  void* flat = Map(bpf_map__fd(bpf->maps.flat_tables), kFlatBytes);
  for (size_t i = 0; i < files.size(); ++i) {
    nested_bytes +=
        LoadNested(files[i], bpf_map__fd(bpf->maps.tables), kFile + static_cast<uint32_t>(i));
    used += TableBytes(files[i]);
  }
  for (int i = 0; i < kRepetitions; ++i) {
    Clock::time_point begin = Clock::now();
    LoadNested(first, bpf_map__fd(bpf->maps.tables), kFile);
    nested_ms = std::min(nested_ms, Milliseconds(begin));
    begin = Clock::now();
    memcpy(flat, first.words.data(), TableBytes(first));
    flat_ms = std::min(flat_ms, Milliseconds(begin));
  }

  uint64_t none = 0, nested = 0, flat_sum = 0;
  const double base_ns = Run(bpf->progs.nothing, bpf, &none);
  const double nested_ns = Run(bpf->progs.nested, bpf, &nested) - base_ns;
  const double flat_ns = Run(bpf->progs.flat, bpf, &flat_sum) - base_ns;
  utsname kernel{};
  uname(&kernel);
  const uint64_t flat_bytes = MapBytes(bpf_map__fd(bpf->maps.flat_tables));
  fmt::print("Linux {}: {} tables of {} bytes, the first of {}; {} random offsets\n\n",
             kernel.release, files.size(), used, TableBytes(first), kOffsets);
  fmt::print("| layout | ns a look-up | bytes beyond the tables | ms to load the first |\n");
  fmt::print("|---|---|---|---|\n");
  fmt::print("| nested | {:.1f} | {} | {:.2f} |\n", nested_ns, nested_bytes - used, nested_ms);
  fmt::print("| flat, {} MiB | {:.1f} | {} | {:.2f} |\n", kFlatBytes >> 20, flat_ns,
             static_cast<int64_t>(flat_bytes) - static_cast<int64_t>(used), flat_ms);
  table_memory_bpf__destroy(bpf);
  if (nested != flat_sum) {
    fmt::print(stderr, "the layouts find different rules: {} and {}\n", nested, flat_sum);
    return 1;
  }
  return 0;
}

int Main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const bool saved = mode == "--saved";
  if (argc < 2 || (mode == "--save" && argc != 4) || (saved && argc < 3)) {
    fmt::print(stderr, "usage: {} FILE... | --save OUT FILE | --saved FILE...\n", argv[0]);
    return 2;
  }
  std::vector<Table> files;
  for (int i = mode == "--save" ? 3 : saved ? 2 : 1; i < argc; ++i) {
    std::optional<Table> table = saved ? LoadSaved(argv[i]) : Build(argv[i]);
    if (!table || table->words.empty()) {
      fmt::print(stderr, "{}: no table\n", argv[i]);
      return 1;
    }
    files.push_back(std::move(*table));
  }
  if (mode == "--save") {
    Save(files.front(), argv[2]);
    return 0;
  }
  return Measure(files);
}

}  // namespace
}  // namespace hotpath

int main(int argc, char** argv) { return hotpath::Main(argc, argv); }
