// The symbol index against nm on real files, and against files made at test time.
#include "daemon/files/symbol_index.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "built_program.h"

namespace hotpath {
namespace {

Result<ElfFile> OpenElf(const std::string& path, Fd* fd) {
  *fd = Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!*fd) return FailErrno("open " + path);
  return ElfFile::Open(fd->get());
}

SymbolIndex IndexOf(const std::string& path, const std::string& debug_path = "",
                    std::span<const FunctionRange> functions = {}) {
  Fd fd, debug_fd;
  auto elf = OpenElf(path, &fd);
  EXPECT_TRUE(elf.has_value()) << path;
  std::optional<ElfFile> debug;
  if (!debug_path.empty()) {
    auto opened = OpenElf(debug_path, &debug_fd);
    EXPECT_TRUE(opened.has_value());
    debug = *std::move(opened);
  }
  auto bytes = BuildSymbolIndex(*elf, debug ? &*debug : nullptr, functions);
  EXPECT_TRUE(bytes.has_value()) << (bytes ? "" : bytes.error().message);
  auto index = SymbolIndex::FromBytes(*std::move(bytes));
  EXPECT_TRUE(index.has_value());
  return *std::move(index);
}

std::string NameAt(const SymbolIndex& index, uint64_t address) {
  const auto symbol = index.Find(address);
  return symbol ? std::string(symbol->name) : "(none)";
}

struct NmSymbol {
  uint64_t address = 0, bytes = 0;
  char type = 0;
  std::string name;
};

// `nm FLAGS --print-size` lines that have a size.
std::vector<NmSymbol> Nm(const std::string& flags, const std::string& path) {
  std::istringstream lines(OutputOf("nm " + flags + " --print-size " + path));
  std::vector<NmSymbol> symbols;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    NmSymbol symbol;
    if (words >> std::hex >> symbol.address >> symbol.bytes >> symbol.type >> symbol.name) {
      symbols.push_back(symbol);
    }
  }
  return symbols;
}

TEST(SymbolIndex, AgreesWithNmAboutTheFunctionsOfLibc) {
  const std::string libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
  const SymbolIndex index = IndexOf(libc);
  std::map<uint64_t, std::set<std::string>> names;
  std::map<uint64_t, uint64_t> bytes;
  for (const NmSymbol& symbol : Nm("-D --without-symbol-versions", libc)) {
    if (!std::string("TtWwi").contains(symbol.type)) continue;
    names[symbol.address].insert(symbol.name);
    bytes[symbol.address] = std::max(bytes[symbol.address], symbol.bytes);
  }
  ASSERT_GT(names.size(), 1500U);
  for (const auto& [address, at_address] : names) {
    EXPECT_TRUE(at_address.contains(NameAt(index, address))) << std::hex << address;
    if (bytes[address] > 1) {
      EXPECT_NE(NameAt(index, address + 1), "(none)") << std::hex << address;
    }
  }
}

TEST(SymbolIndex, PrefersGlobalNamesWithFewUnderscoresAndFindsLastBytes) {
  BuiltProgram program("names.s", R"(
    .text
    .globl __alias, visible
    .weak weak_alias
    .type __alias,@function; .type visible,@function; .type weak_alias,@function
    .type local_alias,@function
    local_alias: weak_alias: __alias: visible: nop; nop; nop; ret
    .size visible, 4; .size __alias, 4; .size weak_alias, 4; .size local_alias, 4
    .skip 12, 0xcc
    .type no_size,@function
    no_size: nop; nop
    label_of_assembly: nop; ret
    .type outer,@function
    outer: nop; nop
    .type inner,@function
    inner: nop; nop
    .size inner, 2
    inside_outer: nop; nop
    .size outer, 6
    plain_label: nop; nop
  )",
                       "-c");
  const SymbolIndex index = IndexOf(program.path());
  std::map<std::string, uint64_t> at;
  std::istringstream lines(OutputOf("nm " + program.path()));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    uint64_t address = 0;
    std::string type, name;
    words >> std::hex >> address >> type >> name;
    at[name] = address;
  }
  EXPECT_EQ(NameAt(index, at["visible"]), "visible");
  EXPECT_EQ(NameAt(index, at["visible"] + 3), "visible");
  EXPECT_EQ(NameAt(index, at["visible"] + 4), "(none)");
  EXPECT_EQ(NameAt(index, at["no_size"] + 1), "no_size");
  EXPECT_EQ(NameAt(index, at["label_of_assembly"] + 1), "label_of_assembly");
  EXPECT_EQ(NameAt(index, at["outer"] + 1), "outer");
  EXPECT_EQ(NameAt(index, at["inner"] + 1), "inner");
  EXPECT_EQ(NameAt(index, at["inside_outer"]), "outer");
  EXPECT_EQ(index.Find(at["inside_outer"])->address, at["outer"]);
  EXPECT_EQ(NameAt(index, at["plain_label"] + 1), "plain_label");
}

TEST(SymbolIndex, NamesWhatOnlyUnwindRangesKnowByNothingButItsStart) {
  BuiltProgram program("ranges.c", "int f(int x) { return x + 1; } int main(void) { return f(1); }",
                       "-O0 -fno-inline");
  uint64_t main_address = 0, f_address = 0;
  for (const NmSymbol& symbol : Nm("", program.path())) {
    if (symbol.name == "main") main_address = symbol.address;
    if (symbol.name == "f") f_address = symbol.address;
  }
  OutputOf("strip " + program.path());
  const FunctionRange ranges[] = {{f_address, 10}, {main_address, 12}};
  const SymbolIndex index = IndexOf(program.path(), "", ranges);
  const auto found = index.Find(main_address + 7);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->name, "");
  EXPECT_EQ(found->address, main_address);
  EXPECT_EQ(found->bytes, 12U);
  EXPECT_FALSE(index.Find(main_address + 12).has_value());
  EXPECT_EQ(index.Find(f_address + 9)->address, f_address);
}

TEST(SymbolIndex, NamesEveryStubOfThePltThatCallsGoThrough) {
  for (const char* flags : {"-fcf-protection=none", "-fcf-protection=full -Wl,-z,ibtplt",
                            "-Wl,-z,now", "-no-pie -fcf-protection=none"}) {
    BuiltProgram program("plt.c", R"(
      #include <stdio.h>
      #include <stdlib.h>
      int main(int argc, char** argv) {
        void* p = malloc(argc); free(p); return puts(argv[0]) + atoi(argv[0]);
      })",
                         std::string("-O0 ") + flags);
    const SymbolIndex index = IndexOf(program.path());
    // What objdump says of the stubs: "0000000000001030 <puts@plt>:".
    std::istringstream lines(OutputOf("objdump -d " + program.path()));
    size_t stubs = 0;
    for (std::string line; std::getline(lines, line);) {
      const size_t name = line.find(" <");
      if (!line.ends_with("@plt>:") || name == std::string::npos) continue;
      const uint64_t address = std::stoull(line, nullptr, 16);
      const std::string expected = line.substr(name + 2, line.size() - name - 4);
      if (!expected.starts_with("*")) {
        EXPECT_EQ(NameAt(index, address), expected) << flags;
        EXPECT_EQ(NameAt(index, address + 5), expected) << flags;
        ++stubs;
      }
    }
    EXPECT_GE(stubs, 4U) << flags;
  }
}

TEST(SymbolIndex, ReadsMiniDebugInfoAndDebugFiles) {
  BuiltProgram program("mini.c",
                       "static int __attribute__((noinline)) hidden(int x) { return x * 3; }"
                       "int main(int argc, char** argv) { (void)argv; return hidden(argc); }",
                       "-O1 -g");
  uint64_t hidden = 0;
  for (const NmSymbol& symbol : Nm("", program.path())) {
    if (symbol.name == "hidden") hidden = symbol.address;
  }
  ASSERT_NE(hidden, 0U);
  const std::string base = program.path();
  OutputOf("objcopy --only-keep-debug " + base + " " + base + ".debug");
  OutputOf("strip -o " + base + ".stripped " + base);
  EXPECT_EQ(NameAt(IndexOf(base), hidden), "hidden");
  EXPECT_EQ(NameAt(IndexOf(base + ".stripped"), hidden), "(none)");
  EXPECT_EQ(NameAt(IndexOf(base + ".stripped", base + ".debug"), hidden), "hidden");

  OutputOf("objcopy -S --keep-symbol=hidden " + base + ".debug " + base + ".mini && xz -k " + base +
           ".mini && objcopy --add-section .gnu_debugdata=" + base + ".mini.xz " + base +
           ".stripped " + base + ".packed");
  ASSERT_TRUE(std::filesystem::exists(base + ".packed"));
  EXPECT_EQ(NameAt(IndexOf(base + ".packed"), hidden), "hidden");
}

TEST(SymbolIndex, ReplacesBytesThatAreNoText) {
  BuiltProgram program(
      "bytes.s", ".text\n.globl nameXX\n.type nameXX,@function\nnameXX: ret\n.size nameXX,1\n",
      "-c");
  std::string bytes = ReadWhole(program.path());
  const size_t at = bytes.find("nameXX");
  ASSERT_NE(at, std::string::npos);
  bytes[at + 4] = '\x01';
  bytes[at + 5] = '\xff';
  auto elf = ElfFile::FromMemory({bytes.begin(), bytes.end()});
  ASSERT_TRUE(elf.has_value());
  auto index = SymbolIndex::FromBytes(*BuildSymbolIndex(*elf, nullptr, {}));
  ASSERT_TRUE(index.has_value());
  EXPECT_EQ(NameAt(*index, 0), "name??");
}

TEST(SymbolIndex, MapsAMemfdAndSurvivesAMove) {
  Fd fd;
  auto elf = OpenElf("/proc/self/exe", &fd);
  ASSERT_TRUE(elf.has_value());
  const std::string bytes = *BuildSymbolIndex(*elf, nullptr, {});
  Fd memory(memfd_create("index", MFD_CLOEXEC));
  ASSERT_EQ(write(memory.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  auto mapped = SymbolIndex::Map(memory.get());
  ASSERT_TRUE(mapped.has_value());
  memory.Reset();
  const SymbolIndex moved = *std::move(mapped);
  EXPECT_GT(moved.size(), 100U);
  EXPECT_EQ(NameAt(moved, elf->entry()), "_start");
}

TEST(SymbolIndex, RefusesBytesThatAreNoIndex) {
  EXPECT_EQ(SymbolIndex::FromBytes("").error().code, ErrorCode::kMalformed);
  EXPECT_EQ(SymbolIndex::FromBytes(std::string(24, 'x')).error().code, ErrorCode::kMalformed);
  Fd memory(memfd_create("empty", MFD_CLOEXEC));
  EXPECT_EQ(SymbolIndex::Map(memory.get()).error().code, ErrorCode::kMalformed);
}

TEST(SymbolIndex, GivesNoNameButNeverCrashesOnDamagedBytes) {
  Fd fd;
  auto elf = OpenElf("/usr/lib/x86_64-linux-gnu/libm.so.6", &fd);
  ASSERT_TRUE(elf.has_value());
  const std::string whole = *BuildSymbolIndex(*elf, nullptr, {});
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string bytes = whole;
    for (int i = 0; i < 50; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    auto index = SymbolIndex::FromBytes(bytes);
    if (!index) continue;
    for (uint64_t address = 0; address < 0x100000; address += 4099) {
      const auto symbol = index->Find(address);
      if (symbol) {
        EXPECT_LE(symbol->name.size(), 65535U);
      }
    }
  }
}

TEST(SymbolIndex, AnswersDamagedFilesWithAnErrorOrAnIndex) {
  const std::string whole = ReadWhole("/usr/lib/x86_64-linux-gnu/libm.so.6");
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    std::vector<uint8_t> bytes(whole.begin(), whole.end());
    if (round % 3 == 0) bytes.resize(random() % bytes.size());
    for (int i = 0; i < 400 && !bytes.empty(); ++i) {
      bytes[random() % (round % 2 == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 70'000))] =
          static_cast<uint8_t>(random());
    }
    auto elf = ElfFile::FromMemory(std::move(bytes));
    if (!elf) continue;
    const auto index = BuildSymbolIndex(*elf, nullptr, {});
    if (index) {
      EXPECT_TRUE(SymbolIndex::FromBytes(*index).has_value());
    }
  }
}

}  // namespace
}  // namespace hotpath
