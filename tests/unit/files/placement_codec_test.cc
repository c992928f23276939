// What the parent believes of a placement that a child sends, and what it refuses.
#include "daemon/files/placement_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "daemon/files/file_worker.h"
#include "made_files.h"

namespace hotpath {
namespace {

using testing::HasSubstr;

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// free of glibc 2.36: test %rdi,%rdi; je; push %rbp.
Placement SomePlacement() {
  ProbedFunction free;
  free.call = AllocatorCall::kFree;
  free.name = "free";
  free.aliases = {"cfree"};
  free.address = 0x98ef0;
  free.exported = true;
  free.code = {0x48, 0x85, 0xff, 0x0f, 0x84, 0xbf, 0, 0, 0, 0x55};
  free.site.offset = 0x98ef3;
  free.site.address = 0x98ef3;
  free.site.instruction = "je 0x98fb8";
  free.site.probe_class = ProbeClass::kEmulated;
  free.site.arguments = {{ArgumentRole::kPointer, Register::kRdi}};
  free.second = free.site;
  free.second->offset = free.second->address = 0x98ef9;
  free.second->instruction = "push %rbp";
  free.second->skips_idle_calls = true;
  free.enters = {"munmap@plt"};
  return {"glibc 2.36", "00ff", {free}};
}

TEST(PlacementCodec, APlacementSurvivesTheJourney) {
  const auto read = DecodePlacement(Bytes(EncodePlacement(SomePlacement())));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->allocator, "glibc 2.36");
  EXPECT_EQ(read->build_id, "00ff");
  ASSERT_EQ(read->functions.size(), 1U);
  const ProbedFunction& free = read->functions[0];
  EXPECT_EQ(free.call, AllocatorCall::kFree);
  EXPECT_EQ(free.aliases, std::vector<std::string>{"cfree"});
  EXPECT_TRUE(free.exported);
  EXPECT_EQ(free.site.instruction, "je 0x98fb8");
  EXPECT_EQ(free.site.arguments,
            (std::vector<ProbeArgument>{{ArgumentRole::kPointer, Register::kRdi}}));
  ASSERT_TRUE(free.second);
  EXPECT_EQ(free.second->offset, 0x98ef9U);
  EXPECT_TRUE(free.second->skips_idle_calls);
  EXPECT_EQ(free.enters, std::vector<std::string>{"munmap@plt"});
  EXPECT_EQ(free.code, SomePlacement().functions[0].code);
}

TEST(PlacementCodec, ASiteThatItsBytesDoNotBearOutIsRefused) {
  const std::pair<std::function<void(ProbedFunction&)>, const char*> lies[] = {
      {[](ProbedFunction& f) { f.site.address++, f.site.offset++; }, "does not emulate"},
      {[](ProbedFunction& f) { f.code[9] = 0x5d; }, "does not emulate"},
      {[](ProbedFunction& f) { f.site.probe_class = ProbeClass::kNop; }, "does not emulate"},
      {[](ProbedFunction& f) { f.site.probe_class = ProbeClass::kStepped; }, "stepped"},
      {[](ProbedFunction& f) { f.code.resize(9); }, "outside"},
      {[](ProbedFunction& f) { f.site.address = 0; }, "outside"},
      {[](ProbedFunction& f) { f.second->offset += 0x1000; }, "differ"},
      {[](ProbedFunction& f) { f.second = f.site; }, "order"},
      {[](ProbedFunction& f) { f.site.at_entry = true; }, "entry"},
      {[](ProbedFunction& f) { f.site.sp_delta_bytes = 1U << 31; }, "frame"},
      {[](ProbedFunction& f) { f.code.resize(4096, 0x90); }, "too much code"},
      {[](ProbedFunction& f) { f.call = static_cast<AllocatorCall>(99); }, "no such call"},
      {[](ProbedFunction& f) { f.site.arguments[0].place = static_cast<Register>(16); },
       "no such register"},
      {[](ProbedFunction& f) { f.site.arguments.resize(9); }, "too many arguments"}};
  for (const auto& [lie, reason] : lies) {
    Placement placement = SomePlacement();
    lie(placement.functions[0]);
    const auto read = DecodePlacement(Bytes(EncodePlacement(placement)));
    ASSERT_FALSE(read) << reason;
    EXPECT_EQ(read.error().code, ErrorCode::kMalformed);
    EXPECT_THAT(read.error().message, HasSubstr(reason));
  }
}

TEST(PlacementCodec, EveryCutIsRefused) {
  const std::string whole = EncodePlacement(SomePlacement());
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_FALSE(DecodePlacement(Bytes(whole.substr(0, bytes)))) << bytes;
  }
  EXPECT_FALSE(DecodePlacement(Bytes(whole + "x")));
}

TEST(PlacementCodec, TextHasNoControlCharacters) {
  Placement placement = SomePlacement();
  placement.allocator = "glibc\x1b[2J\n";
  placement.functions[0].name = "fr\xc3\xa9";
  const auto read = DecodePlacement(Bytes(EncodePlacement(placement)));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->allocator, "glibc?[2J?");
  EXPECT_EQ(read->functions[0].name, "fr??");
}

TEST(FileWorkerPlace, TheBoxedChildPlacesAsTheLibraryDoes) {
  FileWorker worker;
  const Fd libc = OpenForReading(LibcPath());
  const auto placed = worker.Place(libc.get());
  ASSERT_TRUE(placed) << placed.error().message;
  EXPECT_THAT(placed->allocator, HasSubstr("glibc"));
  ASSERT_FALSE(placed->functions.empty());
  EXPECT_EQ(placed->functions[0].name, "malloc");
  EXPECT_EQ(placed->functions[0].site.probe_class, ProbeClass::kEmulated);

  const Fd text = OpenForReading(std::string(HOTPATH_SOURCE_DIR) + "/README.md");
  const auto no_elf = worker.Place(text.get());
  ASSERT_FALSE(no_elf);
  EXPECT_EQ(no_elf.error().code, ErrorCode::kMalformed);
  EXPECT_EQ(worker.children_died(), 0U);
}

}  // namespace
}  // namespace hotpath
