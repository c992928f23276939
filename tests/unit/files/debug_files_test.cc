// Debug files made by objcopy are found by build ID and by link, and impostors are not believed.
#include "daemon/files/debug_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "built_program.h"
#include "daemon/files/elf_file.h"

namespace hotpath {
namespace {

// What the worker's child tells, without a child.
Result<FileIndex> DescribeHere(int fd) {
  auto elf = ElfFile::Open(fd);
  if (!elf) return std::unexpected(elf.error());
  FileIndex facts;
  facts.build_id = elf->build_id();
  if (const ElfSection* section = elf->FindSection(".gnu_debuglink")) {
    const auto bytes = elf->ReadSection(*section);
    facts.debug_link = reinterpret_cast<const char*>(bytes->data());
    std::memcpy(&facts.debug_link_crc, bytes->data() + bytes->size() - 4, 4);
  }
  if (const ElfSection* section = elf->FindSection(".gnu_debugaltlink")) {
    const auto bytes = elf->ReadSection(*section);
    facts.alternate_link = reinterpret_cast<const char*>(bytes->data());
    for (size_t i = facts.alternate_link.size() + 1; i < bytes->size(); ++i) {
      facts.alternate_build_id += fmt::format("{:02x}", (*bytes)[i]);
    }
  }
  return facts;
}

ino_t InodeOf(const std::string& path) {
  struct stat file{};
  return stat(path.c_str(), &file) == 0 ? file.st_ino : 0;
}
ino_t InodeOf(const Fd& fd) {
  struct stat file{};
  return fd && fstat(fd.get(), &file) == 0 ? file.st_ino : 0;
}

// A stripped program with its debug file beside it, not yet at any place where it is looked for.
struct StrippedProgram {
  explicit StrippedProgram(const std::string& flags = "-Wl,--build-id=sha1")
      : program("p.c", "int main(void) { return 0; }", "-g -O1 " + flags) {
    OutputOf(
        fmt::format("cd {0} && objcopy --only-keep-debug program kept && cp kept program.debug "
                    "&& strip program && objcopy --add-gnu-debuglink=program.debug program && "
                    "rm program.debug && mkdir .debug root",
                    program.directory()));
  }
  std::string At(const std::string& name) const { return program.directory() + "/" + name; }
  FileIndex Facts() const {
    const Fd fd(open(program.path().c_str(), O_RDONLY | O_CLOEXEC));
    auto facts = DescribeHere(fd.get());
    EXPECT_TRUE(facts.has_value());
    return *std::move(facts);
  }
  // Puts the debug file (or `source`) at `place` and tells whether it is then found.
  bool FindsAt(const std::string& place, const std::string& source = "kept") const {
    std::filesystem::create_directories(std::filesystem::path(place).parent_path());
    std::filesystem::copy_file(At(source), place);
    DebugFileFinder::Options options;
    options.debug_roots = {At("root")};
    const DebugFiles found = DebugFileFinder(options).Find(Facts(), program.path(), DescribeHere);
    const bool here = InodeOf(found.debug) != 0 && InodeOf(found.debug) == InodeOf(place);
    std::filesystem::remove(place);
    return here;
  }
  BuiltProgram program;
};

TEST(DebugFiles, AreFoundWhereDistributionsPutThem) {
  const StrippedProgram stripped;
  const std::string id = stripped.Facts().build_id;
  ASSERT_EQ(id.size(), 40U);
  EXPECT_TRUE(stripped.FindsAt(
      fmt::format("{}/.build-id/{}/{}.debug", stripped.At("root"), id.substr(0, 2), id.substr(2))));
  EXPECT_TRUE(stripped.FindsAt(stripped.At("program.debug")));
  EXPECT_TRUE(stripped.FindsAt(stripped.At(".debug/program.debug")));
  EXPECT_TRUE(
      stripped.FindsAt(stripped.At("root") + stripped.program.directory() + "/program.debug"));
  EXPECT_FALSE(stripped.FindsAt(stripped.At("elsewhere/program.debug")));
}

TEST(DebugFiles, WithoutBuildIdAreBelievedByTheirChecksum) {
  const StrippedProgram stripped("-Wl,--build-id=none");
  ASSERT_EQ(stripped.Facts().build_id, "");
  EXPECT_TRUE(stripped.FindsAt(stripped.At("program.debug")));
  std::string bytes = ReadWhole(stripped.At("kept"));
  bytes.back() = static_cast<char>(bytes.back() + 1);
  std::ofstream(stripped.At("changed"), std::ios::binary) << bytes;
  EXPECT_FALSE(stripped.FindsAt(stripped.At("program.debug"), "changed"));
}

TEST(DebugFiles, OfAnotherBuildAreNotBelieved) {
  const StrippedProgram stripped;
  const BuiltProgram other("o.c", "int main(void) { return 1; }", "-g -Wl,--build-id=sha1");
  std::filesystem::copy_file(other.path(), stripped.At("other"));
  const std::string id = stripped.Facts().build_id;
  EXPECT_FALSE(stripped.FindsAt(
      fmt::format("{}/.build-id/{}/{}.debug", stripped.At("root"), id.substr(0, 2), id.substr(2)),
      "other"));
  EXPECT_FALSE(stripped.FindsAt(stripped.At("program.debug"), "other"));
}

TEST(DebugFiles, AreLookedForInsideAContainersRoot) {
  const StrippedProgram stripped;
  const std::string id = stripped.Facts().build_id;
  const std::string place = fmt::format("{}/usr/lib/debug/.build-id/{}/{}.debug",
                                        stripped.At("container"), id.substr(0, 2), id.substr(2));
  std::filesystem::create_directories(std::filesystem::path(place).parent_path());
  std::filesystem::copy_file(stripped.At("kept"), place);
  DebugFileFinder::Options options;
  options.prefixes = {"/nowhere", stripped.At("container")};
  const DebugFiles found = DebugFileFinder(options).Find(stripped.Facts(), "/bin/p", DescribeHere);
  EXPECT_EQ(InodeOf(found.debug), InodeOf(place));
}

TEST(DebugFiles, ThatAreFifosOrNamesWithSlashesDoNoHarm) {
  const StrippedProgram stripped;
  ASSERT_EQ(mkfifo(stripped.At("program.debug").c_str(), 0600), 0);
  DebugFileFinder::Options options;
  options.debug_roots = {stripped.At("root")};
  const DebugFileFinder finder(options);
  EXPECT_FALSE(finder.Find(stripped.Facts(), stripped.program.path(), DescribeHere).debug);
  FileIndex facts = stripped.Facts();
  facts.debug_link = "../kept";
  facts.build_id = "../../etc";
  EXPECT_FALSE(finder.Find(facts, stripped.At(".debug/p"), DescribeHere).debug);
}

TEST(DebugFiles, NameTheFileThatDwzShared) {
  if (OutputOf("command -v dwz").empty()) GTEST_SKIP() << "no dwz on this machine";
  const BuiltProgram program(
      "p.cc",
      "#include <map>\n#include <string>\nint main() { std::map<std::string, int> m; "
      "m[\"a\"] = 1; return m.size(); }",
      "-g -O1 -gdwarf-4 -Wl,--build-id=sha1");
  OutputOf(fmt::format("cd {} && cp program second && dwz -m shared program second",
                       program.directory()));
  if (!std::filesystem::exists(program.directory() + "/shared")) GTEST_SKIP() << "nothing shared";
  const Fd fd(open(program.path().c_str(), O_RDONLY | O_CLOEXEC));
  const auto facts = DescribeHere(fd.get());
  ASSERT_TRUE(facts.has_value());
  const DebugFiles found = DebugFileFinder().Find(*facts, program.path(), DescribeHere);
  EXPECT_EQ(InodeOf(found.alternate), InodeOf(program.directory() + "/shared"));
}

}  // namespace
}  // namespace hotpath
