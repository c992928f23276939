// kallsyms: which symbols count, hidden addresses, reloading, and the real one where it is
// readable.
#include "daemon/symbolize/kernel_symbolizer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

namespace hotpath {
namespace {

std::string NameAt(const KernelSymbols& symbols, uint64_t address) {
  const auto symbol = symbols.Find(address);
  return symbol ? std::string(symbol->name) : "(none)";
}

// A file that goes with the test.
class TextFile {
 public:
  explicit TextFile(const std::string& text) { Write(text); }
  ~TextFile() { std::remove(path_.c_str()); }
  TextFile(const TextFile&) = delete;
  TextFile& operator=(const TextFile&) = delete;
  void Write(const std::string& text) const { std::ofstream(path_, std::ios::trunc) << text; }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = testing::TempDir() + "/kallsyms-" +
                      testing::UnitTest::GetInstance()->current_test_info()->name() +
                      std::to_string(getpid());
};

TEST(KernelSymbols, FindTextOfKernelModulesAndBpfPrograms) {
  const KernelSymbols symbols = KernelSymbols::Parse(
      "ffffffff81000000 T _stext\n"
      "ffffffff81000100 t do_one\n"
      "ffffffff81000200 W weak_one\n"
      "ffffffff81000300 D some_data\n"
      "ffffffffc0001000 t ext4_read\t[ext4]\n"
      "ffffffffc0400000 t bpf_prog_6deef7357e7b4530_sd_fw_egress\t[bpf]\n"
      "broken line\n"
      "ffffffff8100");
  EXPECT_EQ(symbols.size(), 5U);
  EXPECT_EQ(NameAt(symbols, 0xffffffff81000000), "_stext");
  EXPECT_EQ(NameAt(symbols, 0xffffffff810001ff), "do_one");
  EXPECT_EQ(NameAt(symbols, 0xffffffff81000200), "weak_one");
  EXPECT_EQ(NameAt(symbols, 0xffffffffc0001004), "ext4_read");
  EXPECT_EQ(NameAt(symbols, 0xffffffffc0400010), "bpf_prog_6deef7357e7b4530_sd_fw_egress");
  EXPECT_EQ(NameAt(symbols, 0xffffffff80ffffff), "(none)");
  EXPECT_EQ(NameAt(symbols, 0xffffffff90000000), "(none)");
}

TEST(KernelSymbols, PreferGlobalNamesWithFewUnderscores) {
  const KernelSymbols symbols = KernelSymbols::Parse(
      "ffffffff81000000 t local\nffffffff81000000 T __global\nffffffff81000000 T global_name\n");
  EXPECT_EQ(symbols.size(), 1U);
  EXPECT_EQ(NameAt(symbols, 0xffffffff81000008), "global_name");
}

TEST(KernelSymbols, KnowThatTheirAddressesAreHidden) {
  EXPECT_TRUE(KernelSymbols::Parse("0000000000000000 T _stext\n0000000000000000 t x\n").hidden());
  EXPECT_FALSE(KernelSymbols::Parse("").hidden());
}

TEST(KernelSymbolizer, ReloadsForAnUnknownAddressButNotMoreOftenThanItsInterval) {
  TextFile file("ffffffff81000000 T first\n");
  auto now = std::chrono::steady_clock::time_point(std::chrono::seconds(1000));
  KernelSymbolizer kernel(
      {.kallsyms = file.path(), .notes = "/nowhere", .now = [&] { return now; }});
  EXPECT_EQ(kernel.Find(0xffffffff81000010)->name, "first");
  file.Write("ffffffff81000000 T first\nffffffffc0000000 t loaded\t[mod]\n");
  EXPECT_FALSE(kernel.Find(0xffffffffc0000004).has_value());
  now += std::chrono::seconds(9);
  EXPECT_FALSE(kernel.Find(0xffffffffc0000004).has_value());
  now += std::chrono::seconds(1);
  ASSERT_TRUE(kernel.Find(0xffffffffc0000004).has_value());
  EXPECT_EQ(kernel.Find(0xffffffffc0000004)->name, "loaded");
  EXPECT_EQ(kernel.unknown_addresses(), 2U);
}

TEST(KernelSymbolizer, LivesWithoutKallsymsAndNotes) {
  KernelSymbolizer kernel({.kallsyms = "/nowhere/kallsyms", .notes = "/nowhere/notes"});
  EXPECT_FALSE(kernel.Find(0xffffffff81000000).has_value());
  EXPECT_EQ(kernel.build_id(), "");
}

TEST(KernelSymbolizer, ReadsLinesThatCrossThePiecesOfAFile) {
  std::string text;
  for (uint64_t i = 0; i < 40'000; ++i) {
    char line[64];
    std::snprintf(line, sizeof(line), "%016llx t function_%llu\n",
                  static_cast<unsigned long long>(0xffffffff81000000 + i * 16),
                  static_cast<unsigned long long>(i));
    text += line;
  }
  const TextFile file(text);
  const KernelSymbols symbols = KernelSymbols::Read(file.path());
  EXPECT_EQ(symbols.size(), 40'000U);
  EXPECT_EQ(NameAt(symbols, 0xffffffff81000000 + 16 * 31'415 + 3), "function_31415");
}

TEST(KernelSymbolizer, NamesThisKernelsFunctionsLikeItsOwnList) {
  std::ifstream kallsyms("/proc/kallsyms");
  KernelSymbolizer kernel;
  size_t compared = 0;
  for (std::string line; std::getline(kallsyms, line);) {
    if (line.size() < 20 || line.find(" T tcp_sendmsg") == std::string::npos) continue;
    const uint64_t address = std::stoull(line, nullptr, 16);
    if (address == 0) GTEST_SKIP() << "this kernel hides addresses";
    const auto found = kernel.Find(address + 4);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->name, line.substr(19));
    ++compared;
  }
  if (compared == 0) GTEST_SKIP() << "no kallsyms here";
}

}  // namespace
}  // namespace hotpath
