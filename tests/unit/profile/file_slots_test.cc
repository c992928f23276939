// What a slot stands for, from one file to the next.
#include "daemon/profile/file_slots.h"

#include <gtest/gtest.h>

namespace hotpath {
namespace {

TEST(FileSlots, GiveANewIdEachTimeTheyAreGivenAgain) {
  const auto slots = std::make_unique<FileSlots>();
  const FileId first = slots->Current(7);
  EXPECT_EQ(first, FileId{7});
  ASSERT_TRUE(slots->Renew(7));
  const FileId second = slots->Current(7);
  ASSERT_TRUE(slots->Renew(8));
  ASSERT_TRUE(slots->Renew(7));
  EXPECT_NE(second, first);
  EXPECT_NE(slots->Current(7), second);
  EXPECT_NE(slots->Current(7), slots->Current(8));
  EXPECT_EQ(slots->Current(FileSlots::kCount), FileId{0});
}

TEST(FileSlots, HoldAFileUntilTheyLeaveIt) {
  const auto slots = std::make_unique<FileSlots>();
  const FileId file = slots->Current(7);
  EXPECT_TRUE(slots->Holds(7, file));
  EXPECT_FALSE(slots->Holds(8, file));
  slots->SetLeaving(7);
  EXPECT_FALSE(slots->Holds(7, file));
  EXPECT_EQ(slots->Current(7), file) << "samples under way are still the old file's";
  ASSERT_TRUE(slots->Renew(7));
  EXPECT_FALSE(slots->Holds(7, file));
  EXPECT_TRUE(slots->Holds(7, slots->Current(7)));
}

TEST(FileSlots, RememberWhenAndHowOftenAFileWasSampled) {
  const auto slots = std::make_unique<FileSlots>();
  slots->SetNow(100);
  for (int i = 0; i < 5; ++i) slots->NoteUse(7);
  slots->NoteUse(FileSlots::kCount);
  EXPECT_EQ(slots->Heat(7), 5U);
  EXPECT_EQ(slots->UsedAt(7), 100U);
  slots->Cool();
  EXPECT_EQ(slots->Heat(7), 2U);
  slots->SetNow(160);
  ASSERT_TRUE(slots->Renew(7));
  EXPECT_EQ(slots->Heat(7), 0U);
  EXPECT_EQ(slots->UsedAt(7), 160U) << "a file just met is not the one to go";
}

}  // namespace
}  // namespace hotpath
