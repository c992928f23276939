// Damaged system libraries: every one gives a table or a clear error, quickly, and never a crash.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <time.h>
#include <unistd.h>

#include <random>
#include <vector>

#include "daemon/base/fd.h"
#include "daemon/files/unwind_table.h"

namespace hotpath {
namespace {

// CPU time, so that a loaded machine does not fail the test.
double CpuSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

class DamagedLibc : public testing::Test {
 protected:
  DamagedLibc() {
    Dl_info info{};
    dladdr(reinterpret_cast<void*>(&getpid), &info);
    Fd fd(open(info.dli_fname, O_RDONLY | O_CLOEXEC));
    bytes_.resize(lseek(fd.get(), 0, SEEK_END));
    EXPECT_EQ(pread(fd.get(), bytes_.data(), bytes_.size(), 0),
              static_cast<ssize_t>(bytes_.size()));
    auto elf = ElfFile::FromMemory(bytes_);
    for (const char* name : {".eh_frame", ".eh_frame_hdr"}) {
      const ElfSection* section = elf->FindSection(name);
      interesting_.push_back({section->file_offset, section->bytes});
    }
    interesting_.push_back({0, 0x400});  // The headers at both ends.
    interesting_.push_back(
        {bytes_.size() - elf->sections().size() * 64, elf->sections().size() * 64});
  }

  // True: a table came out. Checks time and what every table promises.
  bool Read(std::vector<uint8_t> bytes) {
    const double start = CpuSeconds();
    bool built = false;
    if (auto elf = ElfFile::FromMemory(std::move(bytes))) {
      auto table = UnwindTable::FromElf(*elf);
      built = table.has_value();
      if (built) {
        CheckPromises(*table);
      } else {
        EXPECT_FALSE(table.error().message.empty());
      }
    }
    EXPECT_LT(CpuSeconds() - start, 1);
    return built;
  }

  static void CheckPromises(const UnwindTable& table) {
    for (size_t i = 1; i < table.rows().size(); ++i) {
      ASSERT_LE(table.rows()[i - 1].file_offset, table.rows()[i].file_offset);
      ASSERT_LT(table.rows()[i].rule, table.rules().size());
    }
    for (size_t i = 1; i < table.functions().size(); ++i) {
      const FunctionRange& before = table.functions()[i - 1];
      ASSERT_LE(before.address + before.bytes, table.functions()[i].address);
    }
    const UnwindTable::Words built = table.ToWords();
    ASSERT_GE(built.words.size(), built.info.rows_at + table.rows().size());
    ASSERT_EQ(built.words[built.info.blocks], table.rows().size());
  }

  struct Range {
    uint64_t offset, bytes;
  };
  std::vector<uint8_t> bytes_;
  std::vector<Range> interesting_;
};

TEST_F(DamagedLibc, IsReadWhenItIsWhole) { EXPECT_TRUE(Read(bytes_)); }

TEST_F(DamagedLibc, IsRefusedOrReadInPartWhenItIsCutAnywhere) {
  size_t refused = 0;
  for (int i = 0; i < 100; ++i) {
    std::vector<uint8_t> cut(bytes_.begin(),
                             bytes_.begin() + static_cast<ptrdiff_t>(bytes_.size() * i / 100));
    refused += !Read(std::move(cut));
  }
  EXPECT_GT(refused, 0);
}

TEST_F(DamagedLibc, IsRefusedOrReadInPartWhenBytesOfItAreChanged) {
  for (uint32_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    std::vector<uint8_t> mutated = bytes_;
    const Range range = interesting_[seed % interesting_.size()];
    const size_t changes = 1 + random() % 64;
    for (size_t i = 0; i < changes; ++i) {
      uint8_t& byte = mutated[range.offset + random() % range.bytes];
      byte = random() % 2 != 0 ? static_cast<uint8_t>(random())
                               : static_cast<uint8_t>(byte ^ (1U << (random() % 8)));
    }
    Read(std::move(mutated));
    if (HasFatalFailure()) return;
  }
}

TEST_F(DamagedLibc, IsRefusedOrReadInPartWhenItsFramesAreAllOfOneByte) {
  for (const int value : {0x00, 0x01, 0x0a, 0x0f, 0x10, 0x41, 0x80, 0xff}) {
    std::vector<uint8_t> mutated = bytes_;
    const Range frames = interesting_[0];
    std::fill_n(mutated.begin() + static_cast<ptrdiff_t>(frames.offset) + 0x40, frames.bytes - 0x40,
                static_cast<uint8_t>(value));
    Read(std::move(mutated));
  }
}

}  // namespace
}  // namespace hotpath
