// Decodes PLT stubs: which slot of the global offset table each jumps through, and whose it is.
#include "daemon/files/plt_symbols.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

namespace hotpath {
namespace {

constexpr size_t kMaxRelocations = 4'000'000;

// What a slot will hold: a symbol's address, or what a resolver in this file returns.
struct Slot {
  std::string_view name;  // Empty: only `resolver` is known.
  uint64_t resolver = 0;
};

struct Relocations {
  std::unordered_map<uint64_t, Slot> by_slot;  // By the slot's address.
  std::vector<Slot> lazy;                      // .rela.plt, in order: what "push N" counts.
};

template <typename T>
T Load(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// The symbols and names that dynamic relocations refer to.
class DynamicNames {
 public:
  static Result<DynamicNames> Read(const ElfFile& elf) {
    DynamicNames names;
    const ElfSection* table = elf.FindSection(".dynsym");
    if (table == nullptr || table->link >= elf.sections().size()) return names;
    auto symbols = elf.ReadSection(*table);
    if (!symbols) return std::unexpected(symbols.error());
    auto strings = elf.ReadSection(elf.sections()[table->link]);
    if (!strings) return std::unexpected(strings.error());
    names.symbols_ = *std::move(symbols);
    names.strings_ = *std::move(strings);
    return names;
  }
  // Empty when there is no such symbol.
  std::string_view Name(uint64_t index) const {
    if (index == 0 || index >= symbols_.size() / sizeof(Elf64_Sym)) return {};
    const auto symbol = Load<Elf64_Sym>(symbols_.data() + index * sizeof(Elf64_Sym));
    if (symbol.st_name >= strings_.size()) return {};
    const char* text = reinterpret_cast<const char*>(strings_.data()) + symbol.st_name;
    return {text, strnlen(text, std::min(strings_.size() - symbol.st_name,
                                         FunctionSymbols::kMaxNameBytes))};
  }

 private:
  std::vector<uint8_t> symbols_;
  std::vector<uint8_t> strings_;
};

Result<void> AddRelocations(const ElfFile& elf, const char* section_name, const DynamicNames& names,
                            Relocations* found) {
  const ElfSection* section = elf.FindSection(section_name);
  if (section == nullptr || section->type != SHT_RELA) return {};
  const auto bytes = elf.ReadSection(*section);
  if (!bytes) return std::unexpected(bytes.error());
  const bool lazy = std::string_view(section_name) == ".rela.plt";
  for (size_t at = 0; at + sizeof(Elf64_Rela) <= bytes->size(); at += sizeof(Elf64_Rela)) {
    const auto relocation = Load<Elf64_Rela>(bytes->data() + at);
    const auto type = ELF64_R_TYPE(relocation.r_info);
    Slot slot;
    if (type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT) {
      slot.name = names.Name(ELF64_R_SYM(relocation.r_info));
    } else if (type == R_X86_64_IRELATIVE) {
      slot.resolver = static_cast<uint64_t>(relocation.r_addend);
    } else if (!lazy) {
      continue;
    }
    if (found->by_slot.size() >= kMaxRelocations || found->lazy.size() >= kMaxRelocations) {
      return Fail(ErrorCode::kTooLarge,
                  fmt::format("{}: more than {} slots", section_name, kMaxRelocations));
    }
    if (lazy) found->lazy.push_back(slot);
    if (!slot.name.empty() || slot.resolver != 0) {
      found->by_slot.try_emplace(relocation.r_offset, slot);
    }
  }
  return {};
}

// Whose the stub is: "jmp *slot(%rip)" names the slot, "push N; jmp PLT0" the relocation.
const Slot* Decode(std::span<const uint8_t> stub, uint64_t address,
                   const Relocations& relocations) {
  size_t at = 0;
  if (stub.size() >= 4 && Load<uint32_t>(stub.data()) == 0xfa1e0ff3) at = 4;  // endbr64
  if (at < stub.size() && stub[at] == 0x68 && stub.size() - at >= 5) {        // push imm32
    const auto index = Load<uint32_t>(stub.data() + at + 1);
    return index < relocations.lazy.size() ? &relocations.lazy[index] : nullptr;
  }
  if (at < stub.size() && stub[at] == 0xf2) ++at;  // bnd
  if (stub.size() - at < 6 || stub[at] != 0xff || stub[at + 1] != 0x25) return nullptr;
  const uint64_t slot =
      address + at + 6 + static_cast<uint64_t>(int64_t{Load<int32_t>(stub.data() + at + 2)});
  const auto found = relocations.by_slot.find(slot);
  return found == relocations.by_slot.end() ? nullptr : &found->second;
}

struct Stub {
  uint64_t address, bytes;
  Slot slot;
};

Result<void> AddStubs(const ElfFile& elf, const char* section_name, size_t stub_bytes,
                      const Relocations& relocations, std::vector<Stub>* stubs) {
  const ElfSection* section = elf.FindSection(section_name);
  if (section == nullptr || section->type == SHT_NOBITS) return {};
  const auto bytes = elf.ReadSection(*section);
  if (!bytes) return std::unexpected(bytes.error());
  for (size_t at = 0; at + stub_bytes <= bytes->size(); at += stub_bytes) {
    const uint64_t address = section->address + at;
    const Slot* slot = Decode(std::span(*bytes).subspan(at, stub_bytes), address, relocations);
    if (slot != nullptr) stubs->push_back({address, stub_bytes, *slot});
  }
  return {};
}

// Stubs of 8 bytes without endbr64, of 16 with it.
size_t PltGotStubBytes(const ElfFile& elf) {
  const ElfSection* section = elf.FindSection(".plt.got");
  if (section == nullptr) return 8;
  const auto head = elf.Read(section->file_offset, 4);
  return head && Load<uint32_t>(head->data()) == 0xfa1e0ff3 ? 16 : 8;
}

}  // namespace

Result<void> AddPltSymbols(const ElfFile& elf, FunctionSymbols* found) {
  const auto names = DynamicNames::Read(elf);
  if (!names) return std::unexpected(names.error());
  Relocations relocations;
  for (const char* section : {".rela.plt", ".rela.dyn"}) {
    if (auto added = AddRelocations(elf, section, *names, &relocations); !added) return added;
  }
  std::vector<Stub> stubs;
  for (const auto& [section, bytes] : {std::pair<const char*, size_t>{".plt", 16},
                                       {".plt.sec", 16},
                                       {".plt.got", PltGotStubBytes(elf)}}) {
    if (auto added = AddStubs(elf, section, bytes, relocations, &stubs); !added) return added;
  }

  std::unordered_map<uint64_t, std::string_view> resolvers;
  for (const Stub& stub : stubs) {
    if (stub.slot.resolver != 0) resolvers.try_emplace(stub.slot.resolver);
  }
  for (const FunctionSymbol& symbol : found->symbols) {
    const auto resolver = resolvers.find(symbol.address);
    if (resolver != resolvers.end() && resolver->second.empty()) resolver->second = symbol.name;
  }
  std::vector<uint8_t> text;
  struct Placed {
    size_t stub, begin, bytes;
  };
  std::vector<Placed> placed;
  for (size_t i = 0; i < stubs.size(); ++i) {
    const Slot& slot = stubs[i].slot;
    const std::string_view name = slot.name.empty() ? resolvers[slot.resolver] : slot.name;
    if (name.empty()) continue;
    const size_t begin = text.size();
    text.insert(text.end(), name.begin(), name.end());
    constexpr std::string_view kSuffix = "@plt";
    text.insert(text.end(), kSuffix.begin(), kSuffix.end());
    placed.push_back({i, begin, text.size() - begin});
  }
  const std::string_view kept = found->Keep(std::move(text));
  for (const Placed& name : placed) {
    const Stub& stub = stubs[name.stub];
    found->symbols.push_back(
        {stub.address, stub.bytes, kept.substr(name.begin, name.bytes), SymbolRank::kStub});
  }
  return {};
}

}  // namespace hotpath
