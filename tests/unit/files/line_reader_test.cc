// Lines and inlined calls against binutils' addr2line, on programs compiled at test time.
#include "daemon/files/line_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "built_program.h"
#include "daemon/base/fd.h"

namespace hotpath {
namespace {

// Inlined three deep, with a lambda, a template and a namespace.
constexpr const char* kSource = R"(
#include <cstdio>
#include <cstdlib>
#include <vector>
namespace deep {
volatile long sink;
inline __attribute__((always_inline)) long Third(long x) {
  sink = x * 3;
  return sink + 7;
}
template <typename T>
inline __attribute__((always_inline)) long Second(T x) {
  long sum = 0;
  for (T i = 0; i < x; ++i) {
    sum += Third(i);
  }
  return sum;
}
struct Holder {
  long First(long n);
};
__attribute__((noinline)) long Holder::First(long n) {
  auto twice = [&](long k) __attribute__((always_inline)) { return Second<long>(k) * 2; };
  return twice(n) + Second<int>(4);
}
}  // namespace deep
namespace {
__attribute__((noinline)) int Hidden(int n) { return n * atoi("12"); }
}
int main(int argc, char** argv) {
  std::vector<long> values;
  for (int i = 0; i < argc * 10; ++i) values.push_back(deep::Holder().First(i) + Hidden(i));
  printf("%ld %s\n", values.back(), argv[0]);
}
)";

constexpr int kSourceLines = 40;

struct TextSymbol {
  uint64_t address = 0, bytes = 0;
  std::string name;
};

// The functions of the program itself that have a size.
std::vector<TextSymbol> Functions(const std::string& path) {
  std::vector<TextSymbol> functions;
  std::istringstream lines(OutputOf("nm --print-size " + path));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    TextSymbol symbol;
    std::string type;
    if (words >> std::hex >> symbol.address >> symbol.bytes >> type >> symbol.name &&
        (type == "T" || type == "t" || type == "W")) {
      functions.push_back(symbol);
    }
  }
  return functions;
}

// addr2line's answer for one address: "function" and "file:line" for each inlined call.
struct Expected {
  std::string function, place;
};
std::vector<std::vector<Expected>> AskAddr2line(const std::string& path,
                                                const std::vector<uint64_t>& addresses) {
  const std::string list = path + ".addresses";
  {
    std::ofstream file(list);
    for (const uint64_t address : addresses) file << std::hex << address << "\n";
  }
  std::istringstream lines(OutputOf("addr2line -a -i -f -e " + path + " < " + list));
  std::vector<std::vector<Expected>> answers;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("0x")) {
      answers.emplace_back();
      continue;
    }
    Expected expected{line, ""};
    std::getline(lines, expected.place);
    expected.place = expected.place.substr(0, expected.place.find(" (discriminator"));
    if (!answers.empty()) answers.back().push_back(expected);
  }
  return answers;
}

std::unique_ptr<LineReader> OpenLines(const Fd& fd) {
  auto reader = LineReader::Open(fd.get(), -1);
  EXPECT_TRUE(reader.has_value()) << reader.error().message;
  return reader ? *std::move(reader) : nullptr;
}

// Compares every fourth address of the functions; returns how many had inlined calls.
size_t CompareWithAddr2line(const std::string& path) {
  std::vector<uint64_t> addresses;
  for (const TextSymbol& function : Functions(path)) {
    if (function.name.starts_with("_start") || function.name.contains("libc_csu")) continue;
    for (uint64_t at = 0; at < function.bytes; at += 4) addresses.push_back(function.address + at);
  }
  const auto answers = AskAddr2line(path, addresses);
  EXPECT_EQ(answers.size(), addresses.size());
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto reader = OpenLines(fd);
  size_t inlined = 0, compared = 0;
  for (size_t i = 0; i < answers.size() && reader != nullptr; ++i) {
    const std::vector<SourceLine> lines = reader->Find(addresses[i]);
    const std::vector<Expected>& expected = answers[i];
    if (expected.empty() || expected[0].place.starts_with("??:")) continue;
    EXPECT_EQ(lines.size(), expected.size()) << std::hex << addresses[i] << expected[0].place;
    for (size_t k = 0; k < std::min(lines.size(), expected.size()); ++k) {
      const std::string line = lines[k].line == 0 ? "?" : std::to_string(lines[k].line);
      // binutils 2.40 gives lines of headers the name of the source file now and then.
      if (lines[k].line <= kSourceLines || !expected[k].place.contains("inlined.cc:")) {
        EXPECT_EQ(lines[k].file + ":" + line, expected[k].place) << std::hex << addresses[i];
      }
      if (lines[k].function.starts_with("_Z") || lines[k].function == "main") {
        EXPECT_EQ(lines[k].function, expected[k].function) << std::hex << addresses[i];
      } else {  // No linkage name in DWARF: addr2line repeats the symbol's, we name the scopes.
        const std::set<std::string> scoped = {"(anonymous namespace)::Hidden", "atoi",
                                              "deep::Holder::First::{lambda}::operator()"};
        EXPECT_TRUE(scoped.contains(lines[k].function)) << lines[k].function;
      }
    }
    inlined += lines.size() > 2 ? 1 : 0;
    ++compared;
  }
  EXPECT_GT(compared, 50U);
  return inlined;
}

TEST(LineReader, AgreesWithAddr2lineOnInlinedCallsOfGcc) {
  for (const char* flags : {"-g -O2 -gdwarf-5", "-g -O2 -gdwarf-4", "-g -O2 -gz=zlib", "-g -O0",
                            "-g -O2 -fno-PIE -no-pie"}) {
    BuiltProgram program("inlined.cc", kSource, flags);
    const size_t inlined = CompareWithAddr2line(program.path());
    if (std::string(flags).contains("-O2")) {
      EXPECT_GT(inlined, 5U) << flags;
    }
  }
}

TEST(LineReader, WorksOnClangWhichWritesNoAranges) {
  BuiltProgram program("unused.cc", "int main() {}", "");
  std::ofstream(program.directory() + "/inlined.cc") << kSource;
  const std::string built = program.directory() + "/clang_program";
  for (const char* compiler : {"clang++", "clang++-19", "clang++-16", "clang++-14"}) {
    OutputOf(std::string(compiler) + " -g -O2 " + program.directory() + "/inlined.cc -o " + built +
             " 2>/dev/null");
    if (std::filesystem::exists(built)) break;
  }
  if (!std::filesystem::exists(built)) GTEST_SKIP() << "no clang++ on this machine";
  const Fd fd(open(built.c_str(), O_RDONLY | O_CLOEXEC));
  const auto reader = OpenLines(fd);
  ASSERT_NE(reader, nullptr);
  size_t inlined = 0;
  for (const TextSymbol& function : Functions(built)) {
    if (function.name != "_ZN4deep6Holder5FirstEl") continue;
    for (uint64_t at = 0; at < function.bytes; ++at) {
      const auto lines = reader->Find(function.address + at);
      ASSERT_FALSE(lines.empty());
      EXPECT_EQ(lines.back().function, function.name);
      EXPECT_EQ(lines.back().start_line, 22);
      if (lines.size() >= 3 && lines[0].function == "_ZN4deep5ThirdEl") {
        EXPECT_EQ(lines[0].start_line, 7);
        EXPECT_EQ(lines[1].line, 15);
        ++inlined;
      }
    }
  }
  EXPECT_GT(inlined, 0U);
}

TEST(LineReader, GivesAbsolutePathsForRelativeSources) {
  BuiltProgram program("unused.cc", "int main() {}", "");
  std::ofstream(program.directory() + "/part.c") << "int main(int argc, char** argv) {\n"
                                                    "  (void)argv;\n  return argc * 3;\n}\n";
  OutputOf("cd " + program.directory() + " && gcc -g -O1 part.c -o relative");
  const std::string path = program.directory() + "/relative";
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto reader = OpenLines(fd);
  ASSERT_NE(reader, nullptr);
  bool seen = false;
  for (const TextSymbol& function : Functions(path)) {
    if (function.name != "main") continue;
    const auto lines = reader->Find(function.address);
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(lines[0].file, std::filesystem::canonical(program.directory()).string() + "/part.c");
    EXPECT_EQ(lines[0].function, "main");
    EXPECT_EQ(lines[0].start_line, 1);
    seen = true;
  }
  EXPECT_TRUE(seen);
}

TEST(LineReader, ReadsASeparateDebugFile) {
  BuiltProgram program("inlined.cc", kSource, "-g -O2");
  const std::string debug = program.path() + ".debug";
  OutputOf("objcopy --only-keep-debug " + program.path() + " " + debug);
  const Fd whole(open(program.path().c_str(), O_RDONLY | O_CLOEXEC));
  const Fd split(open(debug.c_str(), O_RDONLY | O_CLOEXEC));
  const auto expected = OpenLines(whole);
  const auto reader = OpenLines(split);
  ASSERT_TRUE(expected != nullptr && reader != nullptr);
  for (const TextSymbol& function : Functions(program.path())) {
    const auto a = expected->Find(function.address);
    const auto b = reader->Find(function.address);
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].function, b[i].function);
      EXPECT_EQ(a[i].line, b[i].line);
    }
  }
}

TEST(LineReader, TakesNamesFromTheAlternateFileOfDwz) {
  if (OutputOf("command -v dwz").empty()) {
    GTEST_SKIP() << "no dwz on this machine";
  }
  BuiltProgram program("inlined.cc", kSource, "-g -O2 -gdwarf-4");
  const std::string base = program.path();
  OutputOf("cp " + base + " " + base + ".second && cp " + base + " " + base + ".full && dwz -m " +
           base + ".shared " + base + " " + base + ".second 2>&1");
  if (!std::filesystem::exists(base + ".shared")) GTEST_SKIP() << "dwz shared nothing";
  const Fd full(open((base + ".full").c_str(), O_RDONLY | O_CLOEXEC));
  const Fd packed(open(base.c_str(), O_RDONLY | O_CLOEXEC));
  const Fd shared(open((base + ".shared").c_str(), O_RDONLY | O_CLOEXEC));
  const auto expected = OpenLines(full);
  auto reader = LineReader::Open(packed.get(), shared.get());
  ASSERT_TRUE(expected != nullptr && reader.has_value());
  for (const TextSymbol& function : Functions(base + ".full")) {
    const auto a = expected->Find(function.address + 4);
    const auto b = (*reader)->Find(function.address + 4);
    ASSERT_EQ(a.size(), b.size()) << function.name;
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].function, b[i].function);
      EXPECT_EQ(a[i].file, b[i].file);
      EXPECT_EQ(a[i].line, b[i].line);
    }
  }
}

TEST(LineReader, NamesRustFunctionsAndTheirInlinedCalls) {
  BuiltProgram program("unused.cc", "int main() {}", "");
  const std::string source = program.directory() + "/m.rs";
  std::ofstream(source)
      << "#[inline(always)]\nfn cube(x: u64) -> u64 {\n    x * x * x\n}\n"
         "#[inline(never)]\nfn busy(n: u64) -> u64 {\n    let mut s = 0u64;\n"
         "    for i in 0..n {\n        s = s.wrapping_add(cube(i) ^ s);\n    }\n"
         "    s\n}\nfn main() {\n    println!(\"{}\", busy(std::env::args().count() "
         "as u64));\n}\n";
  const std::string built = program.directory() + "/rust_program";
  for (const char* compiler : {"rustc", "$HOME/.cargo/bin/rustc"}) {
    OutputOf("cd " + program.directory() + " && " + compiler + " -g -O m.rs -o " + built +
             " 2>/dev/null");
    if (std::filesystem::exists(built)) break;
  }
  if (!std::filesystem::exists(built)) GTEST_SKIP() << "no rustc on this machine";
  const Fd fd(open(built.c_str(), O_RDONLY | O_CLOEXEC));
  const auto reader = OpenLines(fd);
  ASSERT_NE(reader, nullptr);
  bool cube = false, here = false;
  for (const TextSymbol& function : Functions(built)) {
    if (!function.name.contains("busy")) continue;
    for (uint64_t at = 0; at < function.bytes; ++at) {
      const auto lines = reader->Find(function.address + at);
      ASSERT_FALSE(lines.empty());
      EXPECT_EQ(lines.back().function, function.name);
      here = here || lines.back().file == std::filesystem::canonical(source).string();
      cube = cube || lines.front().function.contains("cube");
    }
  }
  EXPECT_TRUE(cube);
  EXPECT_TRUE(here);
}

TEST(LineReader, SaysThatThereIsNoDwarf) {
  const Fd stripped(open("/usr/lib/x86_64-linux-gnu/libc.so.6", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(LineReader::Open(stripped.get(), -1).error().code, ErrorCode::kNotFound);
  const Fd no_elf(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(LineReader::Open(no_elf.get(), -1).error().code, ErrorCode::kMalformed);
}

TEST(LineReader, AnswersDamagedDwarfWithAnErrorOrLines) {
  BuiltProgram program("small.c", "int main(int argc, char** argv) { return argc + (argv != 0); }",
                       "-g -O1 -nostartfiles -Wl,-e,main");
  const std::string whole = ReadWhole(program.path());
  uint64_t main_address = 0;
  for (const TextSymbol& function : Functions(program.path())) {
    if (function.name == "main") main_address = function.address;
  }
  std::mt19937 random(5);
  size_t opened = 0;
  for (int round = 0; round < 300; ++round) {
    std::string bytes = whole;
    for (int i = 0; i < 3; ++i) {
      bytes[64 + random() % (bytes.size() - 64)] = static_cast<char>(random());
    }
    if (round % 10 == 0) bytes.resize(random() % bytes.size());
    const Fd memory(memfd_create("damaged", MFD_CLOEXEC));
    ASSERT_EQ(write(memory.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    auto reader = LineReader::Open(memory.get(), -1);
    if (!reader) continue;
    ++opened;
    for (uint64_t at = 0; at < 16; ++at) {
      EXPECT_LE((*reader)->Find(main_address + at).size(), 129U);
    }
  }
  EXPECT_GT(opened, 100U);
}

}  // namespace
}  // namespace hotpath
