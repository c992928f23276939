// Gathers a file's functions from every source and lays them out as a SymbolIndex.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>

#include "daemon/base/utf8.h"
#include "daemon/files/function_symbols.h"
#include "daemon/files/gopclntab.h"
#include "daemon/files/mini_debug_info.h"
#include "daemon/files/plt_symbols.h"
#include "daemon/files/symbol_index.h"
#include "daemon/files/symbol_index_format.h"

namespace hotpath {
namespace {

// Appends `name` with control characters and bytes that are no UTF-8 replaced by '?'.
void AppendPrintable(std::string_view name, std::string* out) {
  while (!name.empty()) {
    const size_t length = Utf8SequenceLength(name);
    const bool control = static_cast<uint8_t>(name[0]) < 0x20 || name[0] == 0x7f;
    *out += length == 0 || control ? "?" : name.substr(0, length);
    name.remove_prefix(length == 0 ? 1 : length);
  }
}

// The names, each once: [length u16][bytes]. Offset 0 is the empty name.
class NameTable {
 public:
  explicit NameTable(size_t expected) {
    size_t slots = 1024;
    while (slots < expected * 2) slots *= 2;
    slots_.assign(slots, 0);
  }

  uint32_t Add(std::string_view name) {
    if (name.empty()) return 0;
    size_t slot = std::hash<std::string_view>()(name) & (slots_.size() - 1);
    while (slots_[slot] != 0) {
      if (At(slots_[slot]) == name) return slots_[slot];
      slot = (slot + 1) & (slots_.size() - 1);
    }
    const auto offset = static_cast<uint32_t>(bytes_.size());
    bytes_.append(sizeof(uint16_t), '\0');
    AppendPrintable(name, &bytes_);
    const auto length = static_cast<uint16_t>(bytes_.size() - offset - sizeof(uint16_t));
    std::memcpy(bytes_.data() + offset, &length, sizeof(length));
    slots_[slot] = offset;
    return offset;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string_view At(uint32_t offset) const {
    uint16_t length = 0;
    std::memcpy(&length, bytes_.data() + offset, sizeof(length));
    return std::string_view(bytes_).substr(offset + sizeof(length), length);
  }

  std::string bytes_ = std::string(sizeof(uint16_t), '\0');
  std::vector<uint32_t> slots_;  // Open addressing; at most half full; 0: free.
};

size_t LeadingUnderscores(std::string_view name) {
  const size_t first = name.find_first_not_of('_');
  return first == std::string_view::npos ? name.size() : first;
}

// Which of two functions at one address gives it its name: the lesser.
bool Less(const FunctionSymbol& a, const FunctionSymbol& b) {
  if (a.address != b.address) return a.address < b.address;
  const bool a_label = a.rank == SymbolRank::kNoType;
  const bool b_label = b.rank == SymbolRank::kNoType;
  if (a_label != b_label) return b_label;
  if ((a.bytes == 0) != (b.bytes == 0)) return b.bytes == 0;
  if (a.rank != b.rank) return a.rank < b.rank;
  const size_t a_underscores = LeadingUnderscores(a.name);
  const size_t b_underscores = LeadingUnderscores(b.name);
  if (a_underscores != b_underscores) return a_underscores < b_underscores;
  if (a.name.size() != b.name.size()) return a.name.size() < b.name.size();
  return a.name < b.name;
}

// One symbol an address, and no label inside a function.
void KeepBest(std::vector<FunctionSymbol>* symbols) {
  std::sort(symbols->begin(), symbols->end(), Less);
  std::vector<FunctionSymbol> kept;
  kept.reserve(symbols->size());
  uint64_t covered = 0;
  for (const FunctionSymbol& symbol : *symbols) {
    if (!kept.empty() && kept.back().address == symbol.address) continue;
    const bool label = symbol.rank == SymbolRank::kNoType;
    if (label && symbol.address < covered) continue;
    if (!label) covered = std::max(covered, symbol.address + symbol.bytes);
    kept.push_back(symbol);
  }
  *symbols = std::move(kept);
}

const FunctionRange* RangeOf(std::span<const FunctionRange> functions, uint64_t address) {
  const auto after = std::upper_bound(
      functions.begin(), functions.end(), address,
      [](uint64_t value, const FunctionRange& range) { return value < range.address; });
  if (after == functions.begin()) return nullptr;
  const FunctionRange& range = *std::prev(after);
  return address - range.address < range.bytes ? &range : nullptr;
}

// Gives every symbol an end inside its section.
void SetSizes(std::vector<FunctionSymbol>* symbols, const CodeMap& code,
              std::span<const FunctionRange> functions) {
  for (size_t i = 0; i < symbols->size(); ++i) {
    FunctionSymbol& symbol = (*symbols)[i];
    const CodeMap::Range* section = code.Find(symbol.address);
    const uint64_t room = section == nullptr ? 0 : section->end - symbol.address;
    if (symbol.bytes > 0) {
      symbol.bytes = std::min(symbol.bytes, room);
      continue;
    }
    symbol.bytes = room;
    if (i + 1 < symbols->size()) {
      symbol.bytes = std::min(symbol.bytes, (*symbols)[i + 1].address - symbol.address);
    }
    if (const FunctionRange* range = RangeOf(functions, symbol.address)) {
      symbol.bytes = std::min(symbol.bytes, range->address + range->bytes - symbol.address);
    }
  }
}

// Adds the ranges whose first byte no symbol covers; keeps the order.
void AddUnnamed(std::vector<FunctionSymbol>* symbols, const CodeMap& code,
                std::span<const FunctionRange> functions) {
  std::vector<FunctionSymbol> unnamed;
  size_t next = 0;
  uint64_t covered = 0;
  for (const FunctionRange& range : functions) {
    while (next < symbols->size() && (*symbols)[next].address <= range.address) {
      covered = std::max(covered, (*symbols)[next].address + (*symbols)[next].bytes);
      ++next;
    }
    const CodeMap::Range* section = code.Find(range.address);
    if (range.address < covered || section == nullptr) continue;
    unnamed.push_back({range.address, std::min(range.bytes, section->end - range.address),
                       std::string_view(), SymbolRank::kUnnamed});
  }
  const auto middle = static_cast<std::ptrdiff_t>(symbols->size());
  symbols->insert(symbols->end(), unnamed.begin(), unnamed.end());
  std::inplace_merge(
      symbols->begin(), symbols->begin() + middle, symbols->end(),
      [](const FunctionSymbol& a, const FunctionSymbol& b) { return a.address < b.address; });
}

Result<FunctionSymbols> Gather(const ElfFile& elf, const ElfFile* debug, const CodeMap& code) {
  FunctionSymbols found;
  std::optional<Error> first_error;
  const auto note = [&first_error](const Result<void>& added) {
    if (!added && !first_error) first_error = added.error();
  };
  note(AddSymbolTable(elf, ".symtab", code, &found));
  if (debug != nullptr) note(AddSymbolTable(*debug, ".symtab", code, &found));
  const bool stripped = found.symbols.empty();
  note(AddSymbolTable(elf, ".dynsym", code, &found));
  if (stripped) {
    auto inner = ReadMiniDebugInfo(elf);
    if (!inner) note(std::unexpected(inner.error()));
    if (inner && inner->has_value()) note(AddSymbolTable(**inner, ".symtab", code, &found));
    note(AddGoFunctions(elf, code, &found));
  }
  note(AddPltSymbols(elf, &found));
  if (first_error && (found.symbols.empty() || first_error->code == ErrorCode::kTooLarge)) {
    return std::unexpected(*first_error);
  }
  return found;
}

}  // namespace

Result<std::string> BuildSymbolIndex(const ElfFile& elf, const ElfFile* debug,
                                     std::span<const FunctionRange> functions) {
  const CodeMap code(elf);
  auto found = Gather(elf, debug, code);
  if (!found) return std::unexpected(found.error());
  std::vector<FunctionSymbol>& symbols = found->symbols;
  KeepBest(&symbols);
  SetSizes(&symbols, code, functions);
  AddUnnamed(&symbols, code, functions);
  if (symbols.size() > FunctionSymbols::kMaxSymbols) {
    return Fail(ErrorCode::kTooLarge, fmt::format("{} functions", symbols.size()));
  }

  SymbolIndexHeader header;
  header.base = symbols.empty() ? 0 : symbols.front().address;
  while (!symbols.empty() && symbols.back().address - header.base > UINT32_MAX) symbols.pop_back();
  header.count = static_cast<uint32_t>(symbols.size());
  NameTable names(symbols.size());
  std::vector<uint32_t> words(symbols.size() * kSymbolIndexArrays);
  uint32_t* starts = words.data();
  uint32_t* sizes = starts + symbols.size();
  uint32_t* offsets = sizes + symbols.size();
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (names.bytes().size() > kMaxSymbolNameBytes) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("names take more than {} bytes", kMaxSymbolNameBytes));
    }
    starts[i] = static_cast<uint32_t>(symbols[i].address - header.base);
    sizes[i] = static_cast<uint32_t>(std::min<uint64_t>(symbols[i].bytes, UINT32_MAX));
    offsets[i] = names.Add(symbols[i].name);
  }
  header.name_bytes = static_cast<uint32_t>(names.bytes().size());

  std::string index;
  index.reserve(sizeof(header) + words.size() * sizeof(uint32_t) + names.bytes().size());
  index.append(reinterpret_cast<const char*>(&header), sizeof(header));
  index.append(reinterpret_cast<const char*>(words.data()), words.size() * sizeof(uint32_t));
  index.append(names.bytes());
  return index;
}

}  // namespace hotpath
