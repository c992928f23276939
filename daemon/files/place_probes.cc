// Gathers symbols, stubs, extents and code of a file for PlaceFunctions().
#include "daemon/files/place_probes.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "daemon/files/allocator_name.h"
#include "daemon/files/frame_section.h"
#include "daemon/files/function_symbols.h"
#include "daemon/files/plt_symbols.h"
#include "daemon/placement/place_functions.h"

namespace hotpath {
namespace {

constexpr std::string_view kStubSuffix = "@plt";

// The symbols of a file that matter here.
struct AllocatorSymbolsOfFile {
  std::vector<NamedFunction> functions;  // One entry a symbol and table.
  std::set<std::string, std::less<>> telling;
};

Result<void> AddNamed(const ElfFile& elf, std::string_view table, const CodeMap& code,
                      AllocatorSymbolsOfFile& out) {
  FunctionSymbols symbols;
  if (auto added = AddSymbolTable(elf, table, code, &symbols); !added) return added;
  for (const FunctionSymbol& symbol : symbols.symbols) {
    if (TellsAllocator(symbol.name)) out.telling.emplace(symbol.name);
    if (!IsAllocatorSymbol(symbol.name)) continue;
    out.functions.push_back({std::string(symbol.name), symbol.address, symbol.bytes,
                             table == ".dynsym", symbol.indirect});
  }
  return {};
}

// A damaged table of stubs costs names of what is entered, nothing else.
std::map<uint64_t, std::string> StubsOf(const ElfFile& elf) {
  FunctionSymbols symbols;
  std::map<uint64_t, std::string> stubs;
  if (!AddPltSymbols(elf, &symbols)) return stubs;
  for (const FunctionSymbol& symbol : symbols.symbols) {
    if (!symbol.name.ends_with(kStubSuffix)) continue;
    stubs.emplace(symbol.address, symbol.name.substr(0, symbol.name.size() - kStubSuffix.size()));
  }
  return stubs;
}

std::vector<CodeExtent> ExtentsOf(const ElfFile& elf) {
  std::vector<CodeExtent> extents;
  auto section = FrameSection::EhFrame(elf);
  if (!section) return extents;
  for (const FrameFunction& function : section->ReadFunctions()) {
    extents.push_back({function.address, function.address + function.bytes});
  }
  std::ranges::sort(extents, {}, &CodeExtent::begin);
  uint64_t covered = 0;
  std::erase_if(extents, [&covered](const CodeExtent& extent) {
    if (extent.begin < covered) return true;
    covered = extent.end;
    return false;
  });
  return extents;
}

Result<std::vector<CodeSegment>> CodeOf(const ElfFile& elf) {
  std::vector<CodeSegment> code;
  uint64_t total = 0;
  for (const ElfSegment& segment : elf.segments()) {
    if (!segment.executable) continue;
    const uint64_t bytes = std::min(segment.file_bytes, segment.memory_bytes);
    if (bytes > kMaxPlacementCodeBytes - total) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("more than {} MiB of code", kMaxPlacementCodeBytes >> 20));
    }
    total += bytes;
    auto content = elf.Read(segment.file_offset, bytes);
    if (!content) return std::unexpected(content.error());
    code.push_back({segment.address, segment.file_offset, *std::move(content)});
  }
  return code;
}

// Code that only hands operator new on to malloc is no allocator.
bool IsAllocator(const ProbedFunction& function) {
  const bool is_operator = SignatureOf(function.call).name.starts_with("operator");
  const bool hands_on = std::ranges::any_of(
      function.enters, [](const std::string& name) { return name.ends_with(kStubSuffix); });
  return !is_operator && !(hands_on && function.name != "malloc" && function.name != "free");
}

}  // namespace

Result<Placement> PlaceProbes(const ElfFile& elf) {
  Placement placement;
  placement.build_id = elf.build_id();
  AllocatorSymbolsOfFile symbols;
  const CodeMap code_map(elf);
  for (const std::string_view table : {".dynsym", ".symtab"}) {
    if (auto added = AddNamed(elf, table, code_map, symbols); !added) {
      return std::unexpected(added.error());
    }
  }
  if (symbols.functions.empty()) return placement;
  auto segments = CodeOf(elf);
  if (!segments) return std::unexpected(segments.error());
  const ProgramCode code(*std::move(segments), ExtentsOf(elf), StubsOf(elf));
  placement.functions = PlaceFunctions(code, symbols.functions);
  if (std::ranges::any_of(placement.functions, IsAllocator)) {
    placement.allocator = NameAllocator(elf, symbols.telling);
  }
  return placement;
}

}  // namespace hotpath
