// Looks for a few names in the symbol table, and for frame pointers in the code.
#include "daemon/files/known_functions.h"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

namespace hotpath {
namespace {

constexpr uint64_t kMaxSymbolBytes = uint64_t{4} << 20;
constexpr uint64_t kMaxStringBytes = uint64_t{16} << 20;
constexpr size_t kMaxFound = 64;  // Symbols of a known name that are looked at.
constexpr std::array<std::string_view, 5> kSignalReturns = {
    "__restore_rt", "runtime.sigreturn__sigaction.abi0", "runtime.sigreturn__sigaction",
    "runtime.sigreturn.abi0", "runtime.sigreturn"};
constexpr std::array<uint8_t, 9> kSignalReturnCode = {0x48, 0xc7, 0xc0, 0x0f, 0x00,
                                                      0x00, 0x00, 0x0f, 0x05};
// musl's first functions: of the main thread, of a thread, and what calls the latter.
constexpr std::string_view kMusl = "libc_start_main_stage2";
constexpr std::array<std::string_view, 5> kMuslRoots = {kMusl, "__libc_start_main", "__clone",
                                                        "start", "start_c11"};
constexpr std::array<uint8_t, 4> kFramePointerPrologue = {0x55, 0x48, 0x89, 0xe5};
constexpr uint64_t kSampleBytes = 64 << 10;
constexpr uint64_t kBytesPerPrologue = 2 << 10;  // At most, of code that keeps frame pointers.

// _init and _fini begin with endbr64 (or not) and sub $8,%rsp; they end with add $8,%rsp; ret.
constexpr std::array<std::string_view, 2> kSectionFunctions = {".init", ".fini"};
constexpr uint64_t kMaxSectionFunctionBytes = 256;
constexpr std::array<uint8_t, 4> kEndbr64 = {0xf3, 0x0f, 0x1e, 0xfa};
constexpr std::array<uint8_t, 4> kPush8 = {0x48, 0x83, 0xec, 0x08};
constexpr std::array<uint8_t, 5> kPop8AndReturn = {0x48, 0x83, 0xc4, 0x08, 0xc3};

bool Contains(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

bool StartsWith(std::span<const uint8_t> bytes, std::span<const uint8_t> start) {
  return bytes.size() >= start.size() && std::ranges::equal(bytes.first(start.size()), start);
}

void MakeDisjoint(std::vector<CodeRange>& ranges) {
  std::ranges::sort(ranges, {}, &CodeRange::begin);
  uint64_t covered = 0;
  std::erase_if(ranges, [&](const CodeRange& range) {
    if (range.begin < covered) return true;
    covered = range.end;
    return false;
  });
}

void AddSignalReturn(const ElfFile& elf, const ExecutableMap& code, uint64_t address,
                     std::vector<CodeRange>& ranges) {
  const auto bytes = elf.ReadAddress(address, kSignalReturnCode.size());
  if (!bytes || !std::ranges::equal(*bytes, kSignalReturnCode)) return;
  auto range = code.Find(address - 1, kSignalReturnCode.size() + 1);
  if (!range) return;
  range->source = FrameSource::kSignalReturn;
  ranges.push_back(*range);
}

void AddSectionFunctions(const ElfFile& elf, const ExecutableMap& code,
                         std::vector<CodeRange>& depths) {
  for (const ElfSection& section : elf.sections()) {
    if (!Contains(kSectionFunctions, section.name) || (section.flags & SHF_EXECINSTR) == 0 ||
        section.bytes > kMaxSectionFunctionBytes) {
      continue;
    }
    const auto bytes = elf.ReadAddress(section.address, section.bytes);
    if (!bytes || bytes->size() != section.bytes) continue;
    std::span<const uint8_t> rest(*bytes);
    if (StartsWith(rest, kEndbr64)) rest = rest.subspan(kEndbr64.size());
    if (rest.size() < kPush8.size() + kPop8AndReturn.size() || !StartsWith(rest, kPush8) ||
        !StartsWith(rest.last(kPop8AndReturn.size()), kPop8AndReturn)) {
      continue;
    }
    const uint64_t pushed = bytes->size() - rest.size() + kPush8.size();
    const uint64_t popped = bytes->size() - 1;
    const auto add = [&](uint64_t begin, uint64_t end, uint32_t depth) {
      auto range = code.Find(section.address + begin, end - begin);
      if (!range) return;
      range->source = FrameSource::kKnownDepth;
      range->function = depth;
      depths.push_back(*range);
    };
    add(0, pushed, 8);
    add(pushed, popped, 16);
    add(popped, bytes->size(), 8);
  }
  MakeDisjoint(depths);
}

}  // namespace

KnownFunctions FindKnownFunctions(const ElfFile& elf, const ExecutableMap& code) {
  KnownFunctions known;
  AddSectionFunctions(elf, code, known.depths);
  const ElfSection* section = elf.FindSection(".symtab");
  if (section == nullptr || section->type != SHT_SYMTAB || section->bytes > kMaxSymbolBytes ||
      section->link >= elf.sections().size()) {
    return known;
  }
  const ElfSection& name_section = elf.sections()[section->link];
  if (name_section.bytes > kMaxStringBytes) return known;
  const auto symbols = elf.ReadSection(*section);
  const auto names = elf.ReadSection(name_section);
  if (!symbols || !names) return known;

  bool is_musl = false;
  size_t found = 0;
  for (size_t at = 0; found < kMaxFound && at + sizeof(Elf64_Sym) <= symbols->size();
       at += sizeof(Elf64_Sym)) {
    Elf64_Sym symbol;
    std::memcpy(&symbol, symbols->data() + at, sizeof(symbol));
    if (symbol.st_shndx == SHN_UNDEF || symbol.st_name >= names->size()) continue;
    const char* start = reinterpret_cast<const char*>(names->data()) + symbol.st_name;
    constexpr size_t kLongest = 40;  // Longer than any known name.
    const std::string_view name(start,
                                strnlen(start, std::min(names->size() - symbol.st_name, kLongest)));
    if (!Contains(kSignalReturns, name) && !Contains(kMuslRoots, name)) continue;
    ++found;
    if (Contains(kSignalReturns, name)) {
      AddSignalReturn(elf, code, symbol.st_value, known.signal_returns);
    } else {
      is_musl |= name == kMusl;
      auto range = code.Find(symbol.st_value, std::max<uint64_t>(symbol.st_size, 1));
      if (!range) continue;
      range->source = FrameSource::kRoot;
      known.roots.push_back(*range);
    }
  }
  if (!is_musl) known.roots.clear();
  MakeDisjoint(known.signal_returns);
  MakeDisjoint(known.roots);
  return known;
}

FramePointerCode FindFramePointerCode(const ElfFile& elf, const ExecutableMap& code,
                                      std::span<const CodeRange> ranges) {
  FramePointerCode found;
  uint64_t code_bytes = 0, covered = 0;
  bool is_go = false;
  CodeRange largest{};
  for (const ElfSection& section : elf.sections()) {
    is_go |= section.name == ".gopclntab" || section.name == ".data.rel.ro.gopclntab";
    if ((section.flags & SHF_EXECINSTR) == 0) continue;
    const auto range = code.Find(section.address, section.bytes);
    if (!range) continue;
    code_bytes += range->end - range->begin;
    found.begin = std::min(found.begin, range->begin);
    found.end = std::max(found.end, range->end);
    if (range->end - range->begin > largest.end - largest.begin) largest = *range;
  }
  for (const CodeRange& range : ranges) covered += range.end - range.begin;
  if (is_go) return found;
  if (covered >= code_bytes / 2) return {};

  const uint64_t bytes = std::min(largest.end - largest.begin, kSampleBytes);
  const auto sample = elf.Read(largest.begin + (largest.end - largest.begin - bytes) / 2, bytes);
  if (!sample) return {};
  uint64_t prologues = 0;
  for (auto at = sample->begin();; ++at) {
    at = std::search(at, sample->end(), kFramePointerPrologue.begin(), kFramePointerPrologue.end());
    if (at == sample->end()) break;
    ++prologues;
  }
  return prologues * kBytesPerPrologue >= bytes ? found : FramePointerCode();
}

}  // namespace hotpath
