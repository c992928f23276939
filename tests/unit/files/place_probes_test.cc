// Placement in the allocators that Debian ships, and in damaged copies of them.
#include "daemon/files/place_probes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <sstream>

#include "daemon/placement/place_functions.h"
#include "made_files.h"

namespace hotpath {
namespace {

using testing::AnyOf;
using testing::Contains;
using testing::IsEmpty;
using testing::StartsWith;

constexpr char kLibraries[] = "/usr/lib/x86_64-linux-gnu/";

// What objdump says of `file`: text by address. It is another decoder than ours.
std::map<uint64_t, std::string> Disassembly(const std::string& options, const std::string& file) {
  const std::string command =
      "objdump -d -w --no-show-raw-insn " + options + " " + file + " 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::map<uint64_t, std::string> lines;
  std::array<char, 512> line{};
  while (pipe && fgets(line.data(), line.size(), pipe.get()) != nullptr) {
    uint64_t address = 0;
    int text_at = 0;
    if (sscanf(line.data(), " %lx: %n", &address, &text_at) != 1 || text_at == 0) continue;
    lines[address] = line.data() + text_at;
  }
  return lines;
}

std::map<uint64_t, std::string> DisassemblyFrom(const std::string& file, uint64_t address,
                                                uint64_t bytes) {
  std::ostringstream options;
  options << "--start-address=" << address << " --stop-address=" << address + bytes;
  return Disassembly(options.str(), file);
}

Result<Placement> PlaceIn(const std::string& path) {
  const Fd fd = OpenForReading(path);
  const auto elf = ElfFile::Open(fd.get());
  if (!elf) return std::unexpected(elf.error());
  return PlaceProbes(*elf);
}

const ProbedFunction* Find(const Placement& placement, const std::string& name) {
  const auto found = std::ranges::find(placement.functions, name, &ProbedFunction::name);
  return found == placement.functions.end() ? nullptr : &*found;
}

// "emulated +3 je, +9 push": short enough to compare as a whole.
std::string Short(const ProbedFunction* function) {
  if (function == nullptr) return "none";
  std::ostringstream text;
  const auto add = [&](const ProbeSite& site) {
    text << NameOf(site.probe_class) << " +" << site.address - function->address << " "
         << site.instruction.substr(0, site.instruction.find(' '));
  };
  add(function->site);
  if (function->second) {
    text << ", ";
    add(*function->second);
  }
  return text.str();
}

TEST(PlaceProbes, InDebiansGlibcEachSiteIsWhereItWasMeasured) {
  const auto libc = PlaceIn(LibcPath());
  ASSERT_TRUE(libc) << libc.error().message;
  EXPECT_THAT(libc->allocator, StartsWith("glibc 2."));
  EXPECT_EQ(libc->build_id.size(), 40U);
  if (libc->allocator != "glibc 2.36") GTEST_SKIP() << "offsets are those of glibc 2.36";
  const auto of = [&libc](const char* name) { return Short(Find(*libc, name)); };
  EXPECT_EQ(of("malloc"), "emulated +0 push, emulated +2 push");
  EXPECT_EQ(of("calloc"), "emulated +0 push, emulated +5 push");
  EXPECT_EQ(of("realloc"), "emulated +0 push, emulated +2 push");
  EXPECT_EQ(of("reallocarray"), "stepped +0 mov");
  EXPECT_EQ(of("memalign"), "emulated +7 je");
  EXPECT_EQ(of("posix_memalign"), "emulated +7 push, emulated +12 push");
  EXPECT_EQ(of("free"), "emulated +3 je, emulated +9 push");

  const ProbedFunction& free = *Find(*libc, "free");
  EXPECT_FALSE(free.site.skips_idle_calls);
  EXPECT_TRUE(free.second->skips_idle_calls);  // free(NULL)
  EXPECT_EQ(free.second->sp_delta_bytes, 0U);
  EXPECT_EQ(Find(*libc, "malloc")->second->sp_delta_bytes, 8U);
  EXPECT_TRUE(Find(*libc, "malloc")->exported);
  EXPECT_THAT(Find(*libc, "memalign")->aliases, Contains("aligned_alloc"));
  // Who counts both counts twice.
  EXPECT_THAT(Find(*libc, "malloc")->enters, IsEmpty());
  EXPECT_THAT(free.enters, IsEmpty());
  EXPECT_THAT(Find(*libc, "realloc")->enters, Contains("malloc"));
  EXPECT_THAT(Find(*libc, "reallocarray")->enters, Contains("realloc@plt"));
  EXPECT_THAT(Find(*libc, "memalign")->enters, Contains("malloc"));
}

struct Library {
  std::string path, allocator;
};
std::ostream& operator<<(std::ostream& out, const Library& library) { return out << library.path; }

class Libraries : public testing::TestWithParam<Library> {};

// objdump sees an instruction of the stated kind at each site, and the same one.
void ExpectObjdumpAgrees(const std::string& file, const ProbedFunction& function,
                         const ProbeSite& site) {
  const auto lines = DisassemblyFrom(file, function.address, ProbeRules::kMaxBytes);
  const auto line = lines.find(site.address);
  ASSERT_NE(line, lines.end()) << function.name << ": no instruction of objdump's begins there";
  std::istringstream words(line->second), ours(site.instruction);
  std::string mnemonic, our_mnemonic;
  words >> mnemonic;
  ours >> our_mnemonic;
  EXPECT_EQ(our_mnemonic, mnemonic) << function.name;
  if (site.probe_class == ProbeClass::kEmulated) {
    EXPECT_THAT(mnemonic, AnyOf(StartsWith("push"), StartsWith("j"), StartsWith("call")));
  }
}

TEST_P(Libraries, EveryCallHasASiteThatObjdumpSeesToo) {
  const auto placed = PlaceIn(GetParam().path);
  ASSERT_TRUE(placed) << placed.error().message;
  EXPECT_EQ(placed->allocator, GetParam().allocator);
  for (const char* name : {"malloc", "calloc", "realloc", "free", "posix_memalign"}) {
    const ProbedFunction* function = Find(*placed, name);
    ASSERT_NE(function, nullptr) << name;
    EXPECT_STREQ(NameOf(function->site.probe_class), "emulated") << name;
    EXPECT_FALSE(function->site.arguments.empty());
    ExpectObjdumpAgrees(GetParam().path, *function, function->site);
    if (function->second) ExpectObjdumpAgrees(GetParam().path, *function, *function->second);
  }
}

INSTANTIATE_TEST_SUITE_P(
    PlaceProbes, Libraries,
    testing::Values(Library{kLibraries + std::string("libjemalloc.so.2"), "jemalloc 5.3.0"},
                    Library{kLibraries + std::string("libtcmalloc_minimal.so.4"),
                            "gperftools 2.10"},
                    Library{kLibraries + std::string("libtcmalloc.so.4"), "gperftools 2.10"},
                    Library{kLibraries + std::string("libmimalloc.so.2"), "mimalloc"},
                    Library{"/lib/ld-musl-x86_64.so.1", "musl 1.2.3"}),
    [](const testing::TestParamInfo<Library>& info) {
      return info.param.allocator.substr(0, info.param.allocator.find(' ')) +
             std::to_string(info.index);
    });

TEST(PlaceProbes, AStaticProgramsAllocatorIsFoundByItsSymbols) {
  const auto placed = PlaceIn(std::string(HOTPATH_BINARY_DIR) + "/tests/unit/static_allocator");
  ASSERT_TRUE(placed) << placed.error().message;
  EXPECT_THAT(placed->allocator, StartsWith("glibc"));
  for (const char* name : {"malloc", "free"}) {
    const ProbedFunction* function = Find(*placed, name);
    ASSERT_NE(function, nullptr) << name;
    EXPECT_FALSE(function->exported);
    EXPECT_STREQ(NameOf(function->site.probe_class), "emulated");
  }
  ASSERT_NE(Find(*placed, "_Znwm"), nullptr);
  EXPECT_THAT(Find(*placed, "_Znwm")->enters, Contains("malloc"));
}

TEST(PlaceProbes, AFileWithoutAnAllocatorHasNoFunctions) {
  const auto placed = PlaceIn(kLibraries + std::string("libz.so.1"));
  ASSERT_TRUE(placed) << placed.error().message;
  EXPECT_THAT(placed->functions, IsEmpty());
  EXPECT_EQ(placed->allocator, "");
}

TEST(PlaceProbes, LibstdcppHandsOnAndIsNoAllocator) {
  const auto placed = PlaceIn(kLibraries + std::string("libstdc++.so.6"));
  ASSERT_TRUE(placed) << placed.error().message;
  EXPECT_EQ(placed->allocator, "");
  ASSERT_NE(Find(*placed, "_Znwm"), nullptr);
  EXPECT_THAT(Find(*placed, "_Znwm")->enters, Contains("malloc@plt"));
}

// The code of malloc and free with some bytes changed: whatever is claimed must be true of it.
TEST(PlaceProbes, NoChangedByteMakesAWrongClaim) {
  constexpr uint64_t kBytes = 192;
  constexpr uint64_t kAt = 0x1000;
  constexpr size_t kNops = 16;  // What is cut at the end takes these.
  constexpr int kRounds = 120;
  const Fd fd = OpenForReading(LibcPath());
  const auto elf = ElfFile::Open(fd.get());
  ASSERT_TRUE(elf);
  const auto libc = PlaceProbes(*elf);
  ASSERT_TRUE(libc);
  std::mt19937 random(20261);
  int emulated = 0;
  const std::string path = testing::TempDir() + "/changed_code." + std::to_string(getpid());
  for (int round = 0; round < kRounds; ++round) {
    const ProbedFunction* function = Find(*libc, round % 2 == 0 ? "free" : "posix_memalign");
    ASSERT_NE(function, nullptr);
    auto code = elf->ReadAddress(function->address, kBytes);
    ASSERT_TRUE(code);
    for (int i = 0; i < 3; ++i) (*code)[random() % 24] = static_cast<uint8_t>(random());
    code->insert(code->end(), kNops, 0x90);
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(code->data()),
               static_cast<std::streamsize>(code->size()));
    std::vector<CodeSegment> segments;
    segments.push_back({kAt, 0, *code});
    const auto placed =
        PlaceFunctions({std::move(segments), {}, {}}, {{function->name, kAt, code->size()}});
    ASSERT_EQ(placed.size(), 1U);
    if (placed[0].site.probe_class != ProbeClass::kEmulated) continue;
    ++emulated;
    const auto lines = Disassembly("-D -b binary -m i386:x86-64 --adjust-vma=0x1000", path);
    for (const ProbeSite* site :
         {&placed[0].site, placed[0].second ? &*placed[0].second : &placed[0].site}) {
      const auto line = lines.find(site->address);
      ASSERT_NE(line, lines.end()) << "round " << round << ": inside an instruction of objdump's";
      EXPECT_THAT(line->second, AnyOf(StartsWith("push   %r"), StartsWith("j"), StartsWith("call")))
          << "round " << round;
      for (const auto& [address, text] : lines) {  // Nothing before it may end the line.
        if (address >= site->address) break;
        EXPECT_THAT(text, Not(AnyOf(StartsWith("jmp"), StartsWith("call"), StartsWith("ret"),
                                    StartsWith("(bad)"), StartsWith("hlt"), StartsWith("int3"))))
            << "round " << round;
      }
    }
  }
  remove(path.c_str());
  EXPECT_GT(emulated, kRounds / 10);  // Else it was no test.
}

}  // namespace
}  // namespace hotpath
