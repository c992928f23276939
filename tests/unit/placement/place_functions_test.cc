// Sites in functions of a few instructions, written by hand.
#include "daemon/placement/place_functions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "placed_code.h"

namespace hotpath {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Bytes = std::vector<uint8_t>;

uint64_t At(const ProbeSite& site) { return site.address - kCodeAddress; }

TEST(PlaceFunctions, TwoPushesAtTheEntryAreAPair) {
  // push %r12; push %rbp; mov %rdi,%rbp; ret
  const auto malloc = PlaceOne("malloc", {0x41, 0x54, 0x55, 0x48, 0x89, 0xfd, 0xc3});
  EXPECT_EQ(malloc.site.probe_class, ProbeClass::kEmulated);
  EXPECT_EQ(malloc.site.instruction, "push %r12");
  EXPECT_EQ(malloc.site.address, kCodeAddress);
  EXPECT_EQ(malloc.site.offset, kCodeOffset);
  EXPECT_TRUE(malloc.site.at_entry);
  EXPECT_EQ(malloc.site.sp_delta_bytes, 0U);
  EXPECT_THAT(malloc.site.arguments,
              ElementsAre(ProbeArgument{ArgumentRole::kSize, Register::kRdi}));
  ASSERT_TRUE(malloc.second);
  EXPECT_EQ(At(*malloc.second), 2U);
  EXPECT_EQ(malloc.second->offset, kCodeOffset + 2);
  EXPECT_FALSE(malloc.second->at_entry);
  EXPECT_EQ(malloc.second->sp_delta_bytes, 8U);
}

TEST(PlaceFunctions, ALandingPadIsSteppedOver) {
  // endbr64; sub $0x18,%rsp; jmp +0
  const auto malloc =
      PlaceOne("malloc", {0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 0x18, 0xeb, 0x00, 0xc3});
  EXPECT_EQ(malloc.site.probe_class, ProbeClass::kEmulated);
  EXPECT_EQ(At(malloc.site), 8U);
  EXPECT_EQ(malloc.site.sp_delta_bytes, 0x18U);
  EXPECT_FALSE(malloc.second);
}

TEST(PlaceFunctions, AnArgumentIsFollowedIntoTheRegisterItIsMovedTo) {
  // mov %rdi,%rbx; xor %edi,%edi; push %rbp; ret
  const auto malloc = PlaceOne("malloc", {0x48, 0x89, 0xfb, 0x31, 0xff, 0x55, 0xc3});
  EXPECT_EQ(At(malloc.site), 5U);
  EXPECT_THAT(malloc.site.arguments,
              ElementsAre(ProbeArgument{ArgumentRole::kSize, Register::kRbx}));
}

TEST(PlaceFunctions, BehindTheLossOfAnArgumentNothingIsPlaced) {
  // xor %edi,%edi; push %rbp; ret
  const auto malloc = PlaceOne("malloc", {0x31, 0xff, 0x55, 0xc3});
  EXPECT_EQ(malloc.site.probe_class, ProbeClass::kStepped);
  EXPECT_TRUE(malloc.site.at_entry);
  EXPECT_THAT(malloc.site.why, HasSubstr("no longer in registers at +0x2"));
  EXPECT_FALSE(malloc.second);
  // The same where only half of it is overwritten: mov %edi,%edi.
  EXPECT_EQ(PlaceOne("malloc", {0x89, 0xff, 0x55, 0xc3}).site.probe_class, ProbeClass::kStepped);
  // calloc needs both: mov %rsi,%rdi is the loss of the count.
  EXPECT_EQ(PlaceOne("calloc", {0x48, 0x89, 0xf7, 0x55, 0xc3}).site.probe_class,
            ProbeClass::kStepped);
}

// test %rdi,%rdi; je +12; push %rbp; push %rbx; pop; pop; ret; and at 12 what `exit` is.
Bytes FreeWithExit(const Bytes& exit) {
  Bytes bytes = {0x48, 0x85, 0xff, 0x74, 0x07, 0x55, 0x53, 0x5b, 0x5d, 0xc3, 0x90, 0x90};
  for (const uint8_t byte : exit) bytes.push_back(byte);
  return bytes;
}

TEST(PlaceFunctions, BehindABranchThatOnlyReturnsCallsWithoutWorkAreSkipped) {
  const auto free = PlaceOne("free", FreeWithExit({0x31, 0xc0, 0xc3}));  // xor %eax,%eax; ret
  EXPECT_EQ(free.site.instruction, "je 0x40100c");
  EXPECT_EQ(At(free.site), 3U);
  EXPECT_FALSE(free.site.skips_idle_calls);
  ASSERT_TRUE(free.second);
  EXPECT_EQ(At(*free.second), 5U);
  EXPECT_TRUE(free.second->skips_idle_calls);
}

TEST(PlaceFunctions, BehindABranchThatMayWorkNothingIsPlaced) {
  const Bytes exits[] = {
      {0x48, 0x89, 0x07, 0xc3},        // mov %rax,(%rdi); ret
      {0xe8, 0, 0, 0, 0, 0xc3},        // call; ret
      {0x74, 0x00, 0xc3},              // je; ret
      {0x0f, 0x0b},                    // ud2
      {0xf0, 0x48, 0xff, 0x07, 0xc3},  // lock incq (%rdi); ret
  };
  for (const Bytes& exit : exits) {
    const auto free = PlaceOne("free", FreeWithExit(exit));
    EXPECT_EQ(At(free.site), 3U);
    EXPECT_FALSE(free.second) << int{exit[0]};
  }
}

TEST(PlaceFunctions, ABranchBackOntoTheLineForbidsWhatLiesBehindItsTarget) {
  // test %rdi,%rdi; push %rbp; pop %rbp; je to `target`; ret
  const auto with_target = [](int target) {
    return PlaceOne("malloc",
                    {0x48, 0x85, 0xff, 0x55, 0x5d, 0x74, static_cast<uint8_t>(target - 7), 0xc3});
  };
  EXPECT_EQ(At(with_target(0).site), 3U);  // To the entry: it is a call.
  const auto onto_site = with_target(3);
  EXPECT_EQ(onto_site.site.probe_class, ProbeClass::kStepped);
  EXPECT_TRUE(onto_site.site.at_entry);
  EXPECT_THAT(onto_site.site.why, HasSubstr("a branch lands at +0x3"));
  EXPECT_EQ(At(with_target(4).site), 3U);  // Behind the site.
}

TEST(PlaceFunctions, ABranchFromAnotherFunctionForbidsToo) {
  // test %rdi,%rdi; push %rbp; pop %rbp; ret; and 3 bytes on, jmp to +3.
  const Bytes bytes = {0x48, 0x85, 0xff, 0x55, 0x5d, 0xc3, 0x90,
                       0x90, 0x90, 0xe9, 0xf5, 0xff, 0xff, 0xff};
  const NamedFunction malloc{"malloc", kCodeAddress, 6};
  const auto refused = PlaceFunctions(CodeOf(bytes), {malloc});
  EXPECT_THAT(refused[0].site.why, HasSubstr("a branch lands at +0x3"));

  // The same bytes as the constant of mov $imm64,%rax, in a function that a table knows.
  Bytes constant = bytes;
  constant[7] = 0x48;
  constant[8] = 0xb8;
  for (const uint8_t byte : {0x00, 0x00, 0x00, 0xc3}) constant.push_back(byte);
  const std::vector<CodeExtent> extents = {{kCodeAddress + 7, kCodeAddress + constant.size()}};
  const auto placed = PlaceFunctions(CodeOf(constant, extents), {malloc});
  EXPECT_EQ(At(placed[0].site), 3U);
  EXPECT_EQ(placed[0].site.probe_class, ProbeClass::kEmulated);
}

TEST(PlaceFunctions, WithATableOfJumpsOrAnUnknownLengthOnlyTheEntryWillDo) {
  // test %rdi,%rdi; push %rbp; jmp *%rax
  const Bytes jumps = {0x48, 0x85, 0xff, 0x55, 0xff, 0xe0};
  EXPECT_THAT(PlaceOne("free", jumps).site.why, HasSubstr("by a table"));
  EXPECT_EQ(PlaceOne("free", jumps).site.probe_class, ProbeClass::kStepped);
  const Bytes pushes = {0x55, 0x53, 0xff, 0xe0};
  EXPECT_EQ(PlaceOne("free", pushes).site.probe_class, ProbeClass::kEmulated);
  EXPECT_FALSE(PlaceOne("free", pushes).second);

  const auto unknown = PlaceFunctions(CodeOf(FreeWithExit({0xc3})), {{"free", kCodeAddress, 0}});
  EXPECT_TRUE(unknown[0].site.at_entry);
  EXPECT_THAT(unknown[0].site.why, HasSubstr("not known"));
}

TEST(PlaceFunctions, WhatCannotBeReadIsRefused) {
  const Bytes bytes = {0x06, 0x55, 0xc3};  // No instruction in 64-bit code.
  EXPECT_EQ(PlaceOne("malloc", bytes).site.probe_class, ProbeClass::kRefused);
  EXPECT_THAT(PlaceOne("malloc", bytes).site.why, HasSubstr("no instruction"));
  EXPECT_EQ(PlaceOne("malloc", {0xe9, 0x00}).site.probe_class, ProbeClass::kRefused);
  EXPECT_EQ(PlaceOne("malloc", {0xc3}).site.probe_class, ProbeClass::kRefused);
  const auto outside = PlaceFunctions(CodeOf({0x55, 0xc3}), {{"malloc", 0x1234, 2}});
  EXPECT_EQ(outside[0].site.probe_class, ProbeClass::kRefused);
  EXPECT_EQ(outside[0].address, 0U);
  const NamedFunction indirect{"malloc", kCodeAddress, 2, true, true};
  const auto refused = PlaceFunctions(CodeOf({0x55, 0xc3}), {indirect});
  EXPECT_THAT(refused[0].site.why, HasSubstr("load time"));
}

TEST(PlaceFunctions, APushOfAFunctionThatClaimsTooManyBytesIsStillPlaced) {
  const auto placed =
      PlaceFunctions(CodeOf({0x55, 0x53, 0xc3}), {{"malloc", kCodeAddress, UINT64_MAX}});
  EXPECT_EQ(placed[0].site.probe_class, ProbeClass::kEmulated);
  EXPECT_FALSE(placed[0].second);
}

TEST(PlaceFunctions, NamesOfOneAddressAreOneFunction) {
  const auto placed = PlaceFunctions(CodeOf({0x55, 0xc3}), {{"_ZdlPv", kCodeAddress, 2},
                                                            {"cfree", kCodeAddress, 2},
                                                            {"free", kCodeAddress, 2, true},
                                                            {"free", kCodeAddress, 2},
                                                            {"frobnicate", kCodeAddress, 2}});
  ASSERT_EQ(placed.size(), 1U);
  EXPECT_EQ(placed[0].name, "free");
  EXPECT_EQ(placed[0].call, AllocatorCall::kFree);
  EXPECT_TRUE(placed[0].exported);
  EXPECT_THAT(placed[0].aliases, ElementsAre("cfree", "_ZdlPv"));
}

TEST(PlaceFunctions, WhoEntersWhomIsFoundDirectlyByStubAndOneCallAway) {
  Bytes bytes(0x60, 0x90);
  const auto put = [&bytes](size_t at, uint8_t opcode, size_t target) {
    const auto distance = static_cast<int32_t>(target) - static_cast<int32_t>(at + 5);
    bytes[at] = opcode;
    for (size_t i = 0; i < 4; ++i) bytes[at + 1 + i] = static_cast<uint8_t>(distance >> (8 * i));
    bytes[at + 5] = 0xc3;
  };
  bytes[0] = 0xc3;        // malloc
  put(0x10, 0xe9, 0);     // _Znwm jumps to malloc.
  put(0x20, 0xe8, 0x30);  // memalign calls a function that
  put(0x30, 0xe8, 0);     // calls malloc.
  put(0x40, 0xe9, 0x50);  // _ZdlPv jumps to a stub.
  const auto placed = PlaceFunctions(CodeOf(bytes, {}, {{kCodeAddress + 0x50, "free"}}),
                                     {{"malloc", kCodeAddress, 1},
                                      {"_Znwm", kCodeAddress + 0x10, 6},
                                      {"memalign", kCodeAddress + 0x20, 6},
                                      {"_ZdlPv", kCodeAddress + 0x40, 6}});
  ASSERT_EQ(placed.size(), 4U);
  EXPECT_THAT(placed[0].enters, IsEmpty());
  EXPECT_EQ(placed[1].name, "memalign");
  EXPECT_THAT(placed[1].enters, ElementsAre("malloc"));
  EXPECT_EQ(placed[2].name, "_Znwm");
  EXPECT_THAT(placed[2].enters, ElementsAre("malloc"));
  EXPECT_THAT(placed[3].enters, ElementsAre("free@plt"));
}

}  // namespace
}  // namespace hotpath
