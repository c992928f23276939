// Each allocating call is counted once.
#include "daemon/allocations/choose_sites.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hotpath {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

ProbeSite Site(uint64_t offset, std::vector<ProbeArgument> arguments) {
  ProbeSite site;
  site.offset = offset;
  site.probe_class = ProbeClass::kEmulated;
  site.at_entry = true;
  site.arguments = std::move(arguments);
  return site;
}

ProbedFunction Function(AllocatorCall call, const std::string& name, ProbeSite site) {
  ProbedFunction function;
  function.call = call;
  function.name = name;
  function.site = std::move(site);
  return function;
}

ProbedFunction Malloc() {
  const std::vector<ProbeArgument> size = {{ArgumentRole::kSize, Register::kRdi}};
  ProbedFunction function = Function(AllocatorCall::kMalloc, "malloc", Site(0x10, size));
  function.second = Site(0x12, size);
  return function;
}

TEST(ChooseAllocSites, TakesBothPlacesOfAFunctionThatHasTwo) {
  const Placement placement{.allocator = "a", .build_id = "", .functions = {Malloc()}};
  const ChosenSites chosen = ChooseAllocSites(placement);
  ASSERT_THAT(chosen.sites, SizeIs(2));
  EXPECT_EQ(chosen.sites[0].offset, 0x10u);
  EXPECT_EQ(chosen.sites[0].role, AllocSite::Role::kFirst);
  EXPECT_EQ(chosen.sites[0].size_register, 5);
  EXPECT_EQ(chosen.sites[1].offset, 0x12u);
  EXPECT_EQ(chosen.sites[1].role, AllocSite::Role::kSecond);
  EXPECT_THAT(chosen.functions, ElementsAre(&placement.functions[0]));
}

TEST(ChooseAllocSites, MultipliesACountByItsSize) {
  const Placement placement{
      .allocator = "a",
      .build_id = "",
      .functions = {Function(AllocatorCall::kCalloc, "calloc",
                             Site(0x20, {{ArgumentRole::kCount, Register::kRdi},
                                         {ArgumentRole::kSize, Register::kRsi}}))}};
  const ChosenSites chosen = ChooseAllocSites(placement);
  ASSERT_THAT(chosen.sites, SizeIs(1));
  EXPECT_EQ(chosen.sites[0].role, AllocSite::Role::kOnly);
  EXPECT_EQ(chosen.sites[0].size_register, 4);
  EXPECT_EQ(chosen.sites[0].by_register, 5);
}

TEST(ChooseAllocSites, LeavesOutWhatAnotherProbeCounts) {
  ProbedFunction array =
      Function(AllocatorCall::kNew, "_Znwm", Site(0x30, {{ArgumentRole::kSize, Register::kRdi}}));
  array.enters = {"malloc"};
  const Placement placement{.allocator = "a", .build_id = "", .functions = {Malloc(), array}};
  EXPECT_THAT(ChooseAllocSites(placement).functions, ElementsAre(&placement.functions[0]));
  // malloc of another file is another file's to count.
  array.enters = {"malloc@plt"};
  const Placement alone{.allocator = "a", .build_id = "", .functions = {array}};
  EXPECT_THAT(ChooseAllocSites(alone).sites, SizeIs(1));
}

TEST(ChooseAllocSites, SkipsTheCallsThatGoOnToMalloc) {
  ProbedFunction grow = Function(AllocatorCall::kRealloc, "realloc",
                                 Site(0x40, {{ArgumentRole::kPointer, Register::kRdi},
                                             {ArgumentRole::kSize, Register::kRsi}}));
  grow.enters = {"malloc", "free"};
  ProbedFunction aligned = Function(AllocatorCall::kPosixMemalign, "posix_memalign",
                                    Site(0x50, {{ArgumentRole::kSize, Register::kRdx}}));
  aligned.enters = {"malloc"};
  const Placement placement{
      .allocator = "a", .build_id = "", .functions = {Malloc(), grow, aligned}};
  const ChosenSites chosen = ChooseAllocSites(placement);
  ASSERT_THAT(chosen.sites, SizeIs(4));
  EXPECT_EQ(chosen.sites[2].skip_register, 5);
  EXPECT_EQ(chosen.sites[2].skip_up_to, 0);
  EXPECT_EQ(chosen.sites[3].skip_register, 4);
  EXPECT_EQ(chosen.sites[3].skip_up_to, 16);
}

TEST(ChooseAllocSites, TakesNoPlaceThatIsSteppedOrRefused) {
  ProbedFunction stepped = Malloc();
  stepped.site.probe_class = ProbeClass::kStepped;
  ProbedFunction refused = Malloc();
  refused.site.probe_class = ProbeClass::kRefused;
  const Placement placement{.allocator = "a", .build_id = "", .functions = {stepped, refused}};
  EXPECT_THAT(ChooseAllocSites(placement).sites, IsEmpty());
}

TEST(ChooseAllocSites, TakesNoFreeAndNoCallWhoseSizeIsUnknown) {
  const Placement placement{
      .allocator = "a",
      .build_id = "",
      .functions = {Function(AllocatorCall::kFree, "free",
                             Site(0x60, {{ArgumentRole::kPointer, Register::kRdi}})),
                    Function(AllocatorCall::kMalloc, "malloc", Site(0x70, {}))}};
  EXPECT_THAT(ChooseAllocSites(placement).sites, IsEmpty());
}

}  // namespace
}  // namespace hotpath
