// Reads .symtab and .dynsym: functions, indirect functions and labels in code.
#include "daemon/files/function_symbols.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace hotpath {
namespace {

std::vector<CodeMap::Range> CodeRangesOf(const ElfFile& elf) {
  std::vector<CodeMap::Range> ranges;
  const auto add = [&ranges](uint64_t address, uint64_t bytes) {
    if (bytes > 0 && address + bytes > address) ranges.push_back({address, address + bytes});
  };
  for (const ElfSection& section : elf.sections()) {
    if ((section.flags & SHF_EXECINSTR) != 0 && (section.flags & SHF_ALLOC) != 0) {
      add(section.address, section.bytes);
    }
  }
  if (!ranges.empty()) return ranges;
  for (const ElfSegment& segment : elf.segments()) {
    if (segment.executable) add(segment.address, segment.memory_bytes);
  }
  return ranges;
}

SymbolRank RankOf(const Elf64_Sym& symbol) {
  if (ELF64_ST_TYPE(symbol.st_info) == STT_NOTYPE) return SymbolRank::kNoType;
  switch (ELF64_ST_BIND(symbol.st_info)) {
    case STB_GLOBAL:
    case STB_GNU_UNIQUE:
      return SymbolRank::kGlobal;
    case STB_WEAK:
      return SymbolRank::kWeak;
    default:
      return SymbolRank::kLocal;
  }
}

bool IsCode(const Elf64_Sym& symbol) {
  const unsigned type = ELF64_ST_TYPE(symbol.st_info);
  const bool right_type = type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE;
  return right_type && symbol.st_shndx != SHN_UNDEF && symbol.st_shndx != SHN_ABS &&
         symbol.st_shndx != SHN_COMMON;
}

// The string at `offset`; empty when it lies outside.
std::string_view NameAt(std::string_view strings, uint64_t offset) {
  if (offset >= strings.size()) return {};
  const std::string_view rest = strings.substr(offset);
  const auto end = static_cast<const char*>(std::memchr(rest.data(), 0, rest.size()));
  if (end == nullptr) return {};
  return rest.substr(
      0, std::min(static_cast<size_t>(end - rest.data()), FunctionSymbols::kMaxNameBytes));
}

}  // namespace

std::string_view FunctionSymbols::Keep(std::vector<uint8_t> bytes) {
  const std::vector<uint8_t>& kept = name_bytes.emplace_back(std::move(bytes));
  return {reinterpret_cast<const char*>(kept.data()), kept.size()};
}

CodeMap::CodeMap(const ElfFile& elf) : CodeMap(CodeRangesOf(elf)) {}

CodeMap::CodeMap(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.begin < b.begin; });
  for (const Range& range : ranges) {
    if (!ranges_.empty() && range.begin < ranges_.back().end) {
      ranges_.back().end = std::max(ranges_.back().end, range.end);
    } else {
      ranges_.push_back(range);
    }
  }
}

const CodeMap::Range* CodeMap::Find(uint64_t address) const {
  const auto after =
      std::upper_bound(ranges_.begin(), ranges_.end(), address,
                       [](uint64_t value, const Range& range) { return value < range.begin; });
  if (after == ranges_.begin()) return nullptr;
  const Range& range = *std::prev(after);
  return address < range.end ? &range : nullptr;
}

Result<void> AddSymbolTable(const ElfFile& elf, std::string_view section, const CodeMap& code,
                            FunctionSymbols* found) {
  const ElfSection* table = elf.FindSection(section);
  if (table == nullptr || table->type == SHT_NOBITS) return {};
  if (table->link >= elf.sections().size()) {
    return Fail(ErrorCode::kMalformed,
                fmt::format("{}: link {} is past the section table", section, table->link));
  }
  auto symbols = elf.ReadSection(*table);
  if (!symbols) return std::unexpected(symbols.error());
  auto string_bytes = elf.ReadSection(elf.sections()[table->link]);
  if (!string_bytes) return std::unexpected(string_bytes.error());
  const std::string_view strings = found->Keep(*std::move(string_bytes));

  for (size_t at = 0; at + sizeof(Elf64_Sym) <= symbols->size(); at += sizeof(Elf64_Sym)) {
    Elf64_Sym symbol;
    std::memcpy(&symbol, symbols->data() + at, sizeof(symbol));
    if (!IsCode(symbol) || code.Find(symbol.st_value) == nullptr) continue;
    const std::string_view name = NameAt(strings, symbol.st_name);
    if (name.empty()) continue;
    const SymbolRank rank = RankOf(symbol);
    // Labels that only mark places: ".L12", "$x".
    if (rank == SymbolRank::kNoType && (name.starts_with(".L") || name.starts_with("$"))) continue;
    if (found->symbols.size() >= FunctionSymbols::kMaxSymbols) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("{}: more than {} functions", section, FunctionSymbols::kMaxSymbols));
    }
    const bool indirect = ELF64_ST_TYPE(symbol.st_info) == STT_GNU_IFUNC;
    found->symbols.push_back({symbol.st_value, symbol.st_size, name, rank, indirect});
  }
  return {};
}

}  // namespace hotpath
