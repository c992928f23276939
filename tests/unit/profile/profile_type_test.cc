// The table of profile types.
#include "daemon/profile/profile_type.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace hotpath {
namespace {

TEST(ProfileTypes, AreEachOneWholeRow) {
  std::set<std::string> names, endpoints;
  std::set<TypeId> ids;
  for (const ProfileType& type : ProfileTypes(100)) {
    EXPECT_TRUE(names.insert(type.name).second) << type.name;
    EXPECT_TRUE(endpoints.insert(type.endpoint).second) << type.endpoint;
    EXPECT_TRUE(ids.insert(type.id).second) << type.name;
    EXPECT_FALSE(type.title.empty()) << type.name;
    ASSERT_EQ(type.measures.size(), type.sample_types.size()) << type.name;
    const auto is_default = [&](const ValueType& value) {
      return value.type == type.default_sample_type;
    };
    EXPECT_TRUE(std::ranges::any_of(type.sample_types, is_default)) << type.name;
    const Result<ProfileType> found = FindProfileType(type.name, 100);
    ASSERT_TRUE(found) << type.name;
    EXPECT_EQ(found->id, type.id);
  }
  EXPECT_TRUE(names.contains("cpu"));
}

TEST(ProfileTypes, CpuHasTheRatesPeriodAndGosEndpoint) {
  const Result<ProfileType> cpu = FindProfileType("cpu", 100);
  ASSERT_TRUE(cpu);
  EXPECT_EQ(cpu->period, 10'000'000);
  EXPECT_EQ(cpu->endpoint, "profile");
}

}  // namespace
}  // namespace hotpath
