// Which file is believed to be the one a process maps.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <string>

#include "daemon/files/file_identity.h"
#include "mapped_file.h"

namespace hotpath {
namespace {

namespace fs = std::filesystem;

struct stat SomeStatus() {
  struct stat status{};
  status.st_dev = makedev(8, 3);
  status.st_ino = 77;
  status.st_ctim = {100, 5};
  status.st_mtim = {90, 0};
  return status;
}
constexpr hp_file_key kSomeKey{
    .inode = 77, .ctime_ns = 100'000'000'005, .device = 8 << 20 | 3, .generation = 1};

TEST(CompareIdentity, DeviceInodeAndChangeTimeMakeAFile) {
  EXPECT_EQ(CompareIdentity(SomeStatus(), kSomeKey, false), Identity::kSame);
}

TEST(CompareIdentity, AnotherDeviceIsSaid) {
  struct stat status = SomeStatus();
  status.st_dev = makedev(0, 45);
  EXPECT_EQ(CompareIdentity(status, kSomeKey, true), Identity::kSameInodeElsewhere);
}

TEST(CompareIdentity, AnotherInodeIsAnotherFileExceptPerhapsOnOverlayfs) {
  struct stat status = SomeStatus();
  status.st_ino = 78;
  EXPECT_EQ(CompareIdentity(status, kSomeKey, false), Identity::kOther);
  EXPECT_EQ(CompareIdentity(status, kSomeKey, true), Identity::kSameTimeOnOverlay);
}

TEST(CompareIdentity, ARewrittenFileIsAnother) {
  struct stat status = SomeStatus();
  status.st_ctim = status.st_mtim = {200, 0};
  EXPECT_EQ(CompareIdentity(status, kSomeKey, false), Identity::kOther);
}

TEST(CompareIdentity, AnUnlinkedFileHasItsOldContents) {
  struct stat status = SomeStatus();
  status.st_ctim = {200, 0};
  EXPECT_EQ(CompareIdentity(status, kSomeKey, false), Identity::kSameContents);
  status.st_dev = makedev(0, 45);
  EXPECT_EQ(CompareIdentity(status, kSomeKey, false), Identity::kOther);
}

TEST(OpenMappedFile, TheMappingLeadsToTheFileWhateverItsPath) {
  FakeProcess process;
  const std::string path = process.folder().Write("libx.so", "contents");
  const MappedFile wanted = process.Map(path, "/no/such/path");
  const auto opened = OpenMappedFile(process.proc(), wanted);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->path, path);
  EXPECT_EQ(opened->bytes, 8U);
  EXPECT_EQ(opened->identity, Identity::kSame);
  char byte = 0;
  EXPECT_EQ(pread(opened->fd.get(), &byte, 1, 0), 1);
  EXPECT_EQ(write(opened->fd.get(), &byte, 1), -1);
}

TEST(OpenMappedFile, WithoutAMappingThePathBelowTheProcessRootIsTaken) {
  FakeProcess process;
  fs::create_directories(process.root() + "/usr/lib");
  const std::string path = process.folder().Write("libx.so", "contents");
  fs::rename(path, process.root() + "/usr/lib/libx.so");
  const MappedFile wanted =
      process.Gone(KeyOf(process.root() + "/usr/lib/libx.so"), "/usr/lib/libx.so");
  const auto opened = OpenMappedFile(process.proc(), wanted);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->path, "/usr/lib/libx.so");
}

TEST(OpenMappedFile, LinksInAProcessRootStayInIt) {
  FakeProcess process;
  fs::create_directories(process.root() + "/real");
  const std::string path = process.folder().Write("libx.so", "contents");
  fs::rename(path, process.root() + "/real/libx.so");
  fs::create_symlink("/real", process.root() + "/lib");  // Absolute: of its own root.
  const auto opened = OpenMappedFile(
      process.proc(), process.Gone(KeyOf(process.root() + "/real/libx.so"), "/lib/libx.so"));
  ASSERT_TRUE(opened) << opened.error().message;
}

TEST(OpenMappedFile, TheHostsPathIsTheLastResort) {
  FakeProcess process;
  const std::string path = process.folder().Write("libx.so", "contents");
  const auto opened = OpenMappedFile(process.proc(), process.Gone(KeyOf(path), path));
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->path, path);
}

TEST(OpenMappedFile, AnotherFileAtThePathIsRefused) {
  FakeProcess process;
  const std::string path = process.folder().Write("libx.so", "contents");
  hp_file_key key = KeyOf(path);
  key.inode += 1'000'000;
  const auto opened = OpenMappedFile(process.proc(), process.Gone(key, path));
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kInvalidArgument) << opened.error().message;
}

TEST(OpenMappedFile, OldContentsAreBelievedThroughAMappingOnly) {
  FakeProcess process;
  const std::string path = process.folder().Write("libx.so", "contents");
  MappedFile wanted = process.Map(path, path);
  fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(1));
  wanted.key.ctime_ns -= 1'000'000'000;  // It was renamed or unlinked since.
  const auto mapped = OpenMappedFile(process.proc(), wanted);
  ASSERT_TRUE(mapped) << mapped.error().message;
  EXPECT_EQ(mapped->identity, Identity::kSameContents);
  EXPECT_FALSE(OpenMappedFile(process.proc(), process.Gone(wanted.key, path)));
}

TEST(OpenMappedFile, WhatIsNoRegularFileIsNeverOpened) {
  FakeProcess process;
  const std::string fifo = process.folder() / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const auto opened = OpenMappedFile(process.proc(), process.Map(fifo, fifo));
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported);
}

TEST(OpenMappedFile, AFuseFileSystemIsNotTouched) {
  FakeProcess process;
  const std::string path = process.folder().Write("libx.so", "contents");
  const MappedFile wanted = process.Map(path, path);
  struct stat status{};
  ASSERT_EQ(stat(path.c_str(), &status), 0);
  const std::string device =
      std::to_string(major(status.st_dev)) + ":" + std::to_string(minor(status.st_dev));
  process.WriteProcFile("mountinfo", "20 1 " + device + " / / rw shared:1 - ext4 /dev/x rw\n");
  EXPECT_TRUE(OpenMappedFile(process.proc(), wanted));
  process.WriteProcFile("mountinfo", "20 1 9:9 / / rw - ext4 /dev/x rw\n21 20 " + device +
                                         " / /mnt rw shared:2 - fuse.sshfs host rw\n");
  const auto opened = OpenMappedFile(process.proc(), wanted);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported);
}

TEST(OpenMappedFile, AProcessThatIsGoneIsNotFound) {
  FakeProcess process;
  const auto opened = OpenMappedFile(process.proc(), process.Gone(kSomeKey, "/no/such/file"));
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
  const auto nameless = OpenMappedFile(process.proc(), process.Gone(kSomeKey, ""));
  ASSERT_FALSE(nameless);
  EXPECT_EQ(nameless.error().code, ErrorCode::kNotFound);
}

TEST(OpenMappedFile, ADeletedFileOfARealProcessIsOpenedThroughMapFiles) {
  const TemporaryFolder folder;
  const std::string path = folder.Write("plugin.so", std::string(8'192, 'x'));
  const RealMapping mapping(path);
  MappedFile wanted = mapping.AsMappedFile(path);
  ASSERT_TRUE(fs::remove(path));
  const auto opened = OpenMappedFile("/proc", wanted);
  if (!opened && opened.error().code == ErrorCode::kPermission) {
    GTEST_SKIP() << "map_files needs CAP_CHECKPOINT_RESTORE: " << opened.error().message;
  }
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->path, path);
  EXPECT_EQ(opened->bytes, 8'192U);
}

}  // namespace
}  // namespace hotpath
