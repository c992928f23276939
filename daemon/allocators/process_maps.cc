// Reads texts of /proc, and the dynamic linker's list out of a process's memory.
#include "daemon/allocators/process_maps.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <utility>

namespace hotpath {
namespace {

constexpr unsigned kMinorBits = 20;
constexpr size_t kMaxPrograms = 128;
constexpr size_t kMaxDynamic = 512;
constexpr size_t kMaxLibraries = 4'096;
constexpr size_t kMaxVectorBytes = 4'096;

template <typename T>
std::optional<T> ReadAs(const ProcessMemory& memory, uint64_t address) {
  T value;
  if (!memory.Read(address, {reinterpret_cast<uint8_t*>(&value), sizeof value})) return {};
  return value;
}

// An entry of the linker's list, as <link.h> has it.
struct LinkMap {
  uint64_t bias, name, dynamic, next, previous;
};

// The value of `type` in a process's auxiliary vector; 0: not there.
uint64_t AuxiliaryValue(const std::string& vector, uint64_t type) {
  Elf64_auxv_t entry;
  for (size_t at = 0; at + sizeof entry <= vector.size(); at += sizeof entry) {
    std::memcpy(&entry, vector.data() + at, sizeof entry);
    if (entry.a_type == type) return entry.a_un.a_val;
  }
  return 0;
}

// Where the program's dynamic section lies in memory; 0: it has none.
uint64_t DynamicSection(const ProcessMemory& memory, uint64_t headers, uint64_t count) {
  uint64_t own = 0, dynamic = 0;
  bool has_own = false;
  for (uint64_t i = 0; i < std::min<uint64_t>(count, kMaxPrograms); ++i) {
    const auto header = ReadAs<Elf64_Phdr>(memory, headers + i * sizeof(Elf64_Phdr));
    if (!header) return 0;
    if (header->p_type == PT_PHDR) {
      own = header->p_vaddr;
      has_own = true;
    }
    if (header->p_type == PT_DYNAMIC) dynamic = header->p_vaddr;
  }
  return dynamic == 0 || !has_own ? 0 : headers - own + dynamic;
}

// DT_DEBUG: where the linker's struct r_debug is; 0: not told.
uint64_t DebugStruct(const ProcessMemory& memory, uint64_t dynamic) {
  for (size_t i = 0; i < kMaxDynamic; ++i) {
    const auto entry = ReadAs<Elf64_Dyn>(memory, dynamic + i * sizeof(Elf64_Dyn));
    if (!entry || entry->d_tag == DT_NULL) return 0;
    if (entry->d_tag == DT_DEBUG) return entry->d_un.d_ptr;
  }
  return 0;
}

const Mapping* MappingAt(const std::vector<Mapping>& maps, uint64_t address) {
  const auto found = std::ranges::find_if(maps, [address](const Mapping& mapping) {
    return address >= mapping.begin && address < mapping.end;
  });
  return found == maps.end() ? nullptr : &*found;
}

}  // namespace

Result<std::string> ReadProcFile(const std::string& path, size_t max_bytes) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return FailErrno("open " + path);
  std::string text;
  std::array<char, 16'384> part{};
  while (text.size() < max_bytes) {
    const ssize_t got = read(fd.get(), part.data(), std::min(part.size(), max_bytes - text.size()));
    if (got < 0) return FailErrno("read " + path);
    if (got == 0) break;
    text.append(part.data(), static_cast<size_t>(got));
  }
  return text;
}

std::vector<Mapping> ParseMaps(const std::string& text) {
  std::vector<Mapping> maps;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    Mapping mapping;
    unsigned major = 0, minor = 0;
    int path_at = 0;
    std::array<char, 5> rights{};
    // NOLINTNEXTLINE(cert-err34-c): the kernel wrote it, and a number out of range maps nothing.
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n",
                    &mapping.begin, &mapping.end, rights.data(), &mapping.offset, &major, &minor,
                    &mapping.file.inode, &path_at) < 7) {
      continue;
    }
    mapping.executable = rights[2] == 'x';
    mapping.file.device = major << kMinorBits | minor;
    if (path_at > 0) mapping.path = line.substr(static_cast<size_t>(path_at));
    maps.push_back(std::move(mapping));
  }
  return maps;
}

Result<ProcessMemory> ProcessMemory::Open(const std::string& proc, uint32_t pid) {
  const std::string path = fmt::format("{}/{}/mem", proc, pid);
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return FailErrno("open " + path);
  return ProcessMemory(std::move(fd));
}

Result<void> ProcessMemory::Read(uint64_t address, std::span<uint8_t> into) const {
  size_t done = 0;
  while (done < into.size()) {
    const ssize_t got = pread(fd_.get(), into.data() + done, into.size() - done,
                              static_cast<off_t>(address + done));
    if (got <= 0) return Fail(ErrorCode::kNotFound, fmt::format("no memory at {:#x}", address));
    done += static_cast<size_t>(got);
  }
  return {};
}

std::vector<MapFile> SymbolOrder(const std::string& proc, uint32_t pid,
                                 const std::vector<Mapping>& maps) {
  std::vector<MapFile> order;
  const auto vector = ReadProcFile(fmt::format("{}/{}/auxv", proc, pid), kMaxVectorBytes);
  const auto memory = ProcessMemory::Open(proc, pid);
  if (!vector || !memory) return order;
  const uint64_t dynamic =
      DynamicSection(*memory, AuxiliaryValue(*vector, AT_PHDR), AuxiliaryValue(*vector, AT_PHNUM));
  const uint64_t debug = dynamic == 0 ? 0 : DebugStruct(*memory, dynamic);
  constexpr uint64_t kListAt = 8;  // Behind r_version.
  auto next = debug == 0 ? std::nullopt : ReadAs<uint64_t>(*memory, debug + kListAt);
  for (size_t i = 0; next && *next != 0 && i < kMaxLibraries; ++i) {
    const auto entry = ReadAs<LinkMap>(*memory, *next);
    if (!entry) return {};
    const Mapping* mapping = MappingAt(maps, entry->dynamic);
    if (mapping != nullptr && mapping->file.inode != 0) order.push_back(mapping->file);
    next = entry->next;
  }
  return order;
}

}  // namespace hotpath
