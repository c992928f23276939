// Reads Go's pclntab: header, table of functions, names.
#include "daemon/files/gopclntab.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

namespace hotpath {
namespace {

constexpr uint32_t kMagic116 = 0xfffffffa;
constexpr uint32_t kMagic118 = 0xfffffff0;
constexpr uint32_t kMagic120 = 0xfffffff1;
constexpr size_t kHeaderBytes = 8;
constexpr size_t kWord = 8;  // Pointers of the only machine we read.

// Little-endian values inside `bytes_`; nullopt outside.
class TableReader {
 public:
  explicit TableReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  template <typename T>
  std::optional<T> At(uint64_t offset) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof(value));
    return value;
  }
  // The NUL-ended string at `offset`; empty outside.
  std::string_view StringAt(uint64_t offset) const {
    if (offset >= bytes_.size()) return {};
    const char* text = reinterpret_cast<const char*>(bytes_.data()) + offset;
    const size_t limit = std::min(bytes_.size() - offset, FunctionSymbols::kMaxNameBytes);
    return {text, strnlen(text, limit)};
  }
  size_t size() const { return bytes_.size(); }

 private:
  std::span<const uint8_t> bytes_;
};

// What differs between the versions.
struct Layout {
  uint64_t functions;   // Count.
  uint64_t names;       // Offset of the names.
  uint64_t table;       // Offset of the function table; functions' own data count from here.
  uint64_t text_start;  // 1.18 and later: what entries count from.
  bool relative;        // 1.18 and later: 32-bit entries, relative to text_start.
};

Result<Layout> ReadLayout(const TableReader& reader, uint64_t text_start) {
  const auto magic = reader.At<uint32_t>(0);
  const auto pointer_bytes = reader.At<uint8_t>(7);
  if (!magic || !pointer_bytes) return Fail(ErrorCode::kMalformed, "gopclntab: no header");
  const bool relative = *magic == kMagic118 || *magic == kMagic120;
  if (!relative && *magic != kMagic116) {
    return Fail(ErrorCode::kUnsupported, fmt::format("gopclntab: magic number {:#x}", *magic));
  }
  if (*pointer_bytes != kWord) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("gopclntab: pointers of {} bytes", *pointer_bytes));
  }
  // Words after the header: nfunc, nfiles, [textStart,] funcname, cu, filetab, pctab, pcln.
  std::array<uint64_t, 8> words{};
  for (size_t i = 0; i < (relative ? 8 : 7); ++i) {
    const auto word = reader.At<uint64_t>(kHeaderBytes + i * kWord);
    if (!word) return Fail(ErrorCode::kMalformed, "gopclntab: header ends early");
    words.at(i) = *word;
  }
  if (!relative) return Layout{words[0], words[2], words[6], 0, false};
  return Layout{words[0], words[3], words[7], words[2] != 0 ? words[2] : text_start, true};
}

// Where the functions start: .go.module's `text`, for with cgo .text begins with C code.
uint64_t TextStart(const ElfFile& elf, uint64_t table_address) {
  constexpr uint64_t kTextWord = 22;  // runtime.moduledata: pcHeader, 6 slices, 3 words, text.
  const ElfSection* text = elf.FindSection(".text");
  if (text == nullptr) return 0;
  if (const ElfSection* module = elf.FindSection(".go.module"); module != nullptr) {
    const auto bytes = elf.ReadSection(*module);
    if (bytes) {
      const TableReader reader(*bytes);
      const auto header = reader.At<uint64_t>(0);
      const auto start = reader.At<uint64_t>(kTextWord * kWord);
      if (header && *header == table_address && start && *start >= text->address &&
          *start - text->address < text->bytes) {
        return *start;
      }
    }
  }
  return text->address;
}

const ElfSection* FindTable(const ElfFile& elf) {
  for (const char* name : {".gopclntab", ".data.rel.ro.gopclntab"}) {
    const ElfSection* section = elf.FindSection(name);
    if (section != nullptr && section->type != SHT_NOBITS) return section;
  }
  return nullptr;
}

}  // namespace

Result<std::vector<GoFunction>> ParseGopclntab(std::span<const uint8_t> table,
                                               uint64_t text_start) {
  const TableReader reader(table);
  const auto layout = ReadLayout(reader, text_start);
  if (!layout) return std::unexpected(layout.error());
  const uint64_t entry_bytes = layout->relative ? 8 : 16;
  if (layout->table > table.size() || layout->names > table.size() ||
      layout->functions > (table.size() - layout->table) / entry_bytes) {
    return Fail(ErrorCode::kMalformed,
                fmt::format("gopclntab: {} functions at {:#x} pass its {} bytes", layout->functions,
                            layout->table, table.size()));
  }
  if (layout->functions > FunctionSymbols::kMaxSymbols) {
    return Fail(ErrorCode::kTooLarge, fmt::format("gopclntab: {} functions", layout->functions));
  }
  const auto address_at = [&](uint64_t index) -> std::optional<uint64_t> {
    const uint64_t at = layout->table + index * entry_bytes;
    if (!layout->relative) return reader.At<uint64_t>(at);
    const auto entry = reader.At<uint32_t>(at);
    if (!entry) return std::nullopt;
    return layout->text_start + *entry;
  };

  std::vector<GoFunction> functions;
  functions.reserve(layout->functions);
  for (uint64_t i = 0; i < layout->functions; ++i) {
    const auto begin = address_at(i);
    const auto end = address_at(i + 1);  // One more than functions: the end of the last.
    const uint64_t offset_at = layout->table + i * entry_bytes + entry_bytes / 2;
    const auto data =
        layout->relative
            ? reader.At<uint32_t>(offset_at).transform([](uint32_t v) { return uint64_t{v}; })
            : reader.At<uint64_t>(offset_at);
    if (!begin || !end || !data || *end <= *begin || *data > table.size()) continue;
    // A function's data: its entry (4 or 8 bytes), then where its name is.
    const auto name_at = reader.At<int32_t>(layout->table + *data + (layout->relative ? 4 : 8));
    if (!name_at || *name_at < 0) continue;
    const std::string_view name = reader.StringAt(layout->names + static_cast<uint64_t>(*name_at));
    if (!name.empty()) functions.push_back({*begin, *end - *begin, name});
  }
  return functions;
}

Result<void> AddGoFunctions(const ElfFile& elf, const CodeMap& code, FunctionSymbols* found) {
  const ElfSection* section = FindTable(elf);
  if (section == nullptr) return {};
  auto bytes = elf.ReadSection(*section);
  if (!bytes) return std::unexpected(bytes.error());
  const std::string_view kept = found->Keep(*std::move(bytes));
  const auto functions =
      ParseGopclntab({reinterpret_cast<const uint8_t*>(kept.data()), kept.size()},
                     TextStart(elf, section->address));
  if (!functions) return std::unexpected(functions.error());
  for (const GoFunction& function : *functions) {
    if (code.Find(function.address) == nullptr) continue;
    found->symbols.push_back({function.address, function.bytes, function.name, SymbolRank::kLocal});
  }
  return {};
}

}  // namespace hotpath
