// Go's function table: hand-made tables of each version, and binaries of the Go on this machine.
#include "daemon/files/gopclntab.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "built_program.h"
#include "daemon/base/fd.h"
#include "daemon/files/symbol_index.h"

namespace hotpath {
namespace {

template <typename T>
void Put(std::vector<uint8_t>* bytes, size_t at, T value) {
  if (bytes->size() < at + sizeof(value)) bytes->resize(at + sizeof(value));
  std::memcpy(bytes->data() + at, &value, sizeof(value));
}

constexpr size_t kNamesAt = 100, kTableAt = 200;

// Two functions, "main.a" at 0x401000 and "main.b" at 0x401040, the last ending at 0x401100.
std::vector<uint8_t> Table118(uint32_t magic, uint64_t text_start) {
  std::vector<uint8_t> bytes(400);
  Put<uint32_t>(&bytes, 0, magic);
  Put<uint8_t>(&bytes, 6, 1);
  Put<uint8_t>(&bytes, 7, 8);
  Put<uint64_t>(&bytes, 8, 2);
  Put<uint64_t>(&bytes, 24, text_start);
  Put<uint64_t>(&bytes, 32, kNamesAt);
  Put<uint64_t>(&bytes, 64, kTableAt);
  std::memcpy(bytes.data() + kNamesAt, "main.a\0main.b", 14);
  Put<uint32_t>(&bytes, kTableAt, 0);
  Put<uint32_t>(&bytes, kTableAt + 4, 40);
  Put<uint32_t>(&bytes, kTableAt + 8, 0x40);
  Put<uint32_t>(&bytes, kTableAt + 12, 80);
  Put<uint32_t>(&bytes, kTableAt + 16, 0x100);
  Put<int32_t>(&bytes, kTableAt + 40 + 4, 0);
  Put<int32_t>(&bytes, kTableAt + 80 + 4, 7);
  return bytes;
}

std::vector<uint8_t> Table116() {
  std::vector<uint8_t> bytes(400);
  Put<uint32_t>(&bytes, 0, 0xfffffffa);
  Put<uint8_t>(&bytes, 6, 1);
  Put<uint8_t>(&bytes, 7, 8);
  Put<uint64_t>(&bytes, 8, 2);
  Put<uint64_t>(&bytes, 24, kNamesAt);
  Put<uint64_t>(&bytes, 56, kTableAt);
  std::memcpy(bytes.data() + kNamesAt, "main.a\0main.b", 14);
  Put<uint64_t>(&bytes, kTableAt, 0x401000);
  Put<uint64_t>(&bytes, kTableAt + 8, 60);
  Put<uint64_t>(&bytes, kTableAt + 16, 0x401040);
  Put<uint64_t>(&bytes, kTableAt + 24, 80);
  Put<uint64_t>(&bytes, kTableAt + 32, 0x401100);
  Put<int32_t>(&bytes, kTableAt + 60 + 8, 0);
  Put<int32_t>(&bytes, kTableAt + 80 + 8, 7);
  return bytes;
}

void ExpectTwoFunctions(const std::vector<uint8_t>& table, uint64_t text_start) {
  const auto functions = ParseGopclntab(table, text_start);
  ASSERT_TRUE(functions.has_value()) << functions.error().message;
  ASSERT_EQ(functions->size(), 2U);
  EXPECT_EQ((*functions)[0].address, 0x401000U);
  EXPECT_EQ((*functions)[0].bytes, 0x40U);
  EXPECT_EQ((*functions)[0].name, "main.a");
  EXPECT_EQ((*functions)[1].address, 0x401040U);
  EXPECT_EQ((*functions)[1].bytes, 0xc0U);
  EXPECT_EQ((*functions)[1].name, "main.b");
}

TEST(Gopclntab, ReadsTheTablesOfEachVersion) {
  ExpectTwoFunctions(Table116(), 0);
  ExpectTwoFunctions(Table118(0xfffffff0, 0x401000), 0x999);
  ExpectTwoFunctions(Table118(0xfffffff1, 0x401000), 0x999);
}

TEST(Gopclntab, TakesTheStartOfTextWhereTheHeaderHasNone) {
  ExpectTwoFunctions(Table118(0xfffffff1, 0), 0x401000);
}

TEST(Gopclntab, RefusesWhatItCannotRead) {
  EXPECT_EQ(ParseGopclntab({}, 0).error().code, ErrorCode::kMalformed);
  std::vector<uint8_t> table = Table118(0xfffffffb, 0);
  EXPECT_EQ(ParseGopclntab(table, 0).error().code, ErrorCode::kUnsupported);
  table = Table118(0xfffffff1, 0);
  table[7] = 4;
  EXPECT_EQ(ParseGopclntab(table, 0).error().code, ErrorCode::kUnsupported);
  table = Table118(0xfffffff1, 0);
  Put<uint64_t>(&table, 8, 1'000'000);
  EXPECT_EQ(ParseGopclntab(table, 0).error().code, ErrorCode::kMalformed);
  Put<uint64_t>(&table, 8, 2);
  Put<uint64_t>(&table, 64, UINT64_MAX);
  EXPECT_EQ(ParseGopclntab(table, 0).error().code, ErrorCode::kMalformed);
}

TEST(Gopclntab, StaysInsideItsBytesWhateverTheyAre) {
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> table = round % 2 == 0 ? Table116() : Table118(0xfffffff1, 0x401000);
    for (int i = 0; i < 4; ++i) {
      table[8 + random() % (table.size() - 8)] = static_cast<uint8_t>(random());
    }
    table.resize(random() % (table.size() + 1));
    const auto functions = ParseGopclntab(table, 0x401000);
    if (functions) {
      EXPECT_LE(functions->size(), table.size());
    }
  }
}

// A Go binary with symbols: gofmt, from wherever Go is. Empty when there is none.
std::string GoBinary() {
  for (const char* go : {"go", "/usr/local/go/bin/go"}) {
    std::string root = OutputOf(std::string(go) + " env GOROOT 2>/dev/null");
    while (root.ends_with('\n')) root.pop_back();
    if (!root.empty() && std::filesystem::exists(root + "/bin/gofmt")) return root + "/bin/gofmt";
  }
  return "";
}

TEST(Gopclntab, NamesTheFunctionsOfAStrippedBinaryLikeNmDidBefore) {
  const std::string binary = GoBinary();
  if (binary.empty()) GTEST_SKIP() << "no Go on this machine";
  ScratchDirectory directory;
  OutputOf("strip -o " + directory.path() + "/stripped " + binary);
  Fd fd(open((directory.path() + "/stripped").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(fd.valid());
  const auto elf = ElfFile::Open(fd.get());
  ASSERT_TRUE(elf.has_value());
  ASSERT_EQ(elf->FindSection(".symtab"), nullptr);
  const auto index = SymbolIndex::FromBytes(*BuildSymbolIndex(*elf, nullptr, {}));
  ASSERT_TRUE(index.has_value());

  size_t compared = 0;
  std::istringstream lines(OutputOf("nm " + binary));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    uint64_t address = 0;
    std::string type, name;
    words >> std::hex >> address >> type;
    std::getline(words >> std::ws, name);
    // "go:...", "runtime.text" and "runtime.etext" are marks of the linker; the linker writes the
    // middle dot of "type:.eq.T·1" as a dot into the symbol table only.
    if ((type != "T" && type != "t") || name.starts_with("go:") || name.starts_with("type:") ||
        name == "runtime.text" || name == "runtime.etext") {
      continue;
    }
    if (name.ends_with(".abi0")) name.resize(name.size() - 5);
    const auto symbol = index->Find(address + 1);
    ASSERT_TRUE(symbol.has_value()) << name;
    EXPECT_EQ(symbol->name, name);
    EXPECT_EQ(symbol->address, address);
    ++compared;
  }
  if (compared == 0) GTEST_SKIP() << binary << " has no symbols to compare with";
  EXPECT_GT(compared, 1000U);
}

}  // namespace
}  // namespace hotpath
