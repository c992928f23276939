// What the parent believes of a child's answer, and what it refuses.
#include "daemon/files/worker_protocol.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <string>

namespace hotpath {
namespace {

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

FileIndex SomeFacts() {
  FileIndex facts;
  facts.build_id = "00ff1234";
  facts.table_source = "eh_frame";
  facts.segments = {{0, 0x1000, 0x2000, 0x3000, true}, {0x2000, 0x5000, 1, 1, false}};
  facts.rules = {hp_rule{}, hp_rule{.cfa_kind = HP_CFA_REG,
                                    .cfa_reg = 7,
                                    .rbp_kind = HP_RBP_CFA,
                                    .ra = 0,
                                    .cfa_offset = 16,
                                    .cfa_add = 0,
                                    .rbx_kind = HP_RBX_CFA,
                                    .rbx_words = 3,
                                    .rbp_offset = -16}};
  facts.info = {HP_TABLE_READY, 4, 2, 16};
  facts.debug_link = "libx.so.debug";
  facts.debug_link_crc = 0xdeadbeef;
  facts.alternate_link = "/usr/lib/debug/.dwz/x.debug";
  facts.alternate_build_id = "abcd";
  facts.has_debug_info = true;
  facts.damaged = 3;
  return facts;
}

TEST(WorkerFacts, SurviveTheJourney) {
  const FileIndex facts = SomeFacts();
  const auto read = DecodeFacts(Bytes(EncodeFacts(facts)));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->build_id, facts.build_id);
  EXPECT_EQ(read->table_source, facts.table_source);
  ASSERT_EQ(read->segments.size(), 2U);
  EXPECT_EQ(read->segments[0].address, 0x1000U);
  EXPECT_EQ(read->segments[0].memory_bytes, 0x3000U);
  EXPECT_TRUE(read->segments[0].executable);
  EXPECT_FALSE(read->segments[1].executable);
  ASSERT_EQ(read->rules.size(), 2U);
  EXPECT_EQ(read->rules[1].cfa_reg, 7);
  EXPECT_EQ(read->rules[1].rbp_offset, -16);
  EXPECT_EQ(read->rules[1].rbx_words, 3);
  EXPECT_EQ(read->info.first_block, 4U);
  EXPECT_EQ(read->info.rows_at, 16U);
  EXPECT_EQ(read->debug_link, facts.debug_link);
  EXPECT_EQ(read->debug_link_crc, facts.debug_link_crc);
  EXPECT_EQ(read->alternate_link, facts.alternate_link);
  EXPECT_EQ(read->alternate_build_id, facts.alternate_build_id);
  EXPECT_TRUE(read->has_debug_info);
  EXPECT_EQ(read->damaged, 3U);
}

TEST(WorkerFacts, CutAnywhereTheyAreRefused) {
  const std::string whole = EncodeFacts(SomeFacts());
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_FALSE(DecodeFacts(Bytes(whole.substr(0, bytes)))) << bytes;
  }
  EXPECT_FALSE(DecodeFacts(Bytes(whole + "x")));
}

TEST(WorkerFacts, WithAnyByteChangedTheyNeitherCrashNorBreakTheirRules) {
  const std::string whole = EncodeFacts(SomeFacts());
  size_t accepted = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      const auto read = DecodeFacts(Bytes(changed));
      if (!read) continue;
      ++accepted;
      for (const hp_rule& rule : read->rules) {
        EXPECT_LE(rule.cfa_kind, HP_CFA_FRAME_POINTER);
        EXPECT_LE(rule.rbp_kind, HP_RBP_UNDEFINED);
        EXPECT_LE(rule.rbx_kind, HP_RBX_UNDEFINED);
        EXPECT_LT(rule.cfa_reg, 16);
      }
      EXPECT_FALSE(read->debug_link.contains('/'));
    }
  }
  EXPECT_GT(accepted, 0U);
}

TEST(WorkerFacts, TextThatIsNoNameIsRefusedOrDropped) {
  FileIndex facts = SomeFacts();
  facts.build_id = "../../etc";
  EXPECT_FALSE(DecodeFacts(Bytes(EncodeFacts(facts))));
  facts = SomeFacts();
  facts.debug_link = "../../etc/passwd";
  facts.alternate_link = "a\nb";
  const auto read = DecodeFacts(Bytes(EncodeFacts(facts)));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->debug_link, "");
  EXPECT_EQ(read->alternate_link, "");
}

TEST(WorkerFacts, ASegmentThatWrapsAroundIsRefused) {
  FileIndex facts = SomeFacts();
  facts.segments[0].file_bytes = ~uint64_t{0};
  facts.segments[0].file_offset = 1;
  EXPECT_FALSE(DecodeFacts(Bytes(EncodeFacts(facts))));
}

// Two blocks from file offset 0x1000: a gap, then two rows in the first and one in the second.
struct SmallTable {
  FileIndex facts = SomeFacts();
  std::vector<uint32_t> words = std::vector<uint32_t>(32);
  SmallTable() {
    words[0] = 0;
    words[1] = 3;
    words[2] = 4;
    words[16] = 0x1000;
    words[17] = 0x1010 | 1 << 16;
    words[18] = 0x13ff;
    words[19] = 0x1400 | 1 << 16;
  }
};

TEST(WorkerWords, AWellFormedTableIsAccepted) {
  SmallTable table;
  const auto checked = CheckWords(table.words, table.facts);
  ASSERT_TRUE(checked) << checked.error().message;
  EXPECT_EQ(table.facts.row_count, 4U);
  EXPECT_EQ(table.facts.word_count, 32U);
}

TEST(WorkerWords, TheFirstRuleMayBeginWithTheFirstBlock) {
  SmallTable table;
  table.words[17] = 0x1000 | 1 << 16;
  EXPECT_TRUE(CheckWords(table.words, table.facts));
}

TEST(WorkerWords, EachBrokenNumberIsRefused) {
  const std::pair<const char*, void (*)(SmallTable&)> breaks[] = {
      {"state", [](SmallTable& t) { t.facts.info.state = HP_TABLE_PENDING; }},
      {"blocks past rows", [](SmallTable& t) { t.facts.info.blocks = 16; }},
      {"blocks huge", [](SmallTable& t) { t.facts.info.blocks = ~0U; }},
      {"rows_at odd", [](SmallTable& t) { t.facts.info.rows_at = 17; }},
      {"rows_at past end", [](SmallTable& t) { t.facts.info.rows_at = 48; }},
      {"first_block past end", [](SmallTable& t) { t.facts.info.first_block = ~0U; }},
      {"first_block elsewhere", [](SmallTable& t) { t.facts.info.first_block = 5; }},
      {"half a line", [](SmallTable& t) { t.words.resize(31); }},
      {"no words", [](SmallTable& t) { t.words.clear(); }},
      {"no rules", [](SmallTable& t) { t.facts.rules.clear(); }},
      {"rule 0 is a rule", [](SmallTable& t) { t.facts.rules[0].cfa_kind = HP_CFA_REG; }},
      {"first block not 0", [](SmallTable& t) { t.words[0] = 1; }},
      {"blocks out of order", [](SmallTable& t) { t.words[1] = 5; }},
      {"row count past end", [](SmallTable& t) { t.words[2] = 17; }},
      {"row 0 not at the start", [](SmallTable& t) { t.words[16] = 0x1001; }},
      {"row 0 with a rule", [](SmallTable& t) { t.words[16] |= 1 << 16; }},
      {"rows out of order", [](SmallTable& t) { std::swap(t.words[17], t.words[18]); }},
      {"a row twice", [](SmallTable& t) { t.words[18] = t.words[17]; }},
      {"a row of another block", [](SmallTable& t) { t.words[19] = 0x1000; }},
      {"a rule that is not there", [](SmallTable& t) { t.words[18] |= 2 << 16; }},
  };
  for (const auto& [name, break_it] : breaks) {
    SmallTable table;
    break_it(table);
    const auto checked = CheckWords(table.words, table.facts);
    ASSERT_FALSE(checked) << name;
    EXPECT_EQ(checked.error().code, ErrorCode::kMalformed) << name;
  }
}

TEST(WorkerWords, AFileWithoutRulesNeedsNoWords) {
  FileIndex facts;
  facts.table_source = "none";
  ASSERT_TRUE(CheckWords({}, facts));
  EXPECT_EQ(facts.row_count, 0U);
}

TEST(WorkerLines, SurviveTheJourney) {
  const std::vector<std::vector<SourceLine>> lines{
      {{"inner", "a.cc", 7, 3}, {"outer", "a.cc", 20, 18}}, {}, {{"main", "b.cc", 0, 0}}};
  const auto read = DecodeLines(Bytes(EncodeLines(lines)), 3);
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), 3U);
  ASSERT_EQ((*read)[0].size(), 2U);
  EXPECT_EQ((*read)[0][1].function, "outer");
  EXPECT_EQ((*read)[0][1].file, "a.cc");
  EXPECT_EQ((*read)[0][1].line, 20);
  EXPECT_EQ((*read)[0][1].start_line, 18);
  EXPECT_TRUE((*read)[1].empty());
  EXPECT_EQ((*read)[2][0].function, "main");
}

TEST(WorkerLines, OfAnotherNumberOfAddressesAreRefused) {
  const std::string two = EncodeLines({{}, {}});
  EXPECT_TRUE(DecodeLines(Bytes(two), 2));
  EXPECT_FALSE(DecodeLines(Bytes(two), 1));
  EXPECT_FALSE(DecodeLines(Bytes(two), 3));
}

TEST(WorkerLines, CutAnywhereTheyAreRefused) {
  const std::string whole = EncodeLines({{{"f", "a.cc", 7, 3}}, {{"g", "b.cc", 1, 1}}});
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_FALSE(DecodeLines(Bytes(whole.substr(0, bytes)), 2)) << bytes;
  }
}

TEST(WorkerLines, SmallBytesThatUnfoldToGigabytesAreRefused) {
  PayloadWriter out;
  out.Number(1);
  out.Text(std::string(kMaxNameBytes, 'x'));
  constexpr uint64_t kLists = 40;
  for (uint64_t list = 0; list < kLists; ++list) {
    out.Number(kMaxInlineDepth);
    for (uint32_t i = 0; i < kMaxInlineDepth * 4; ++i) out.Number(0);
  }
  const auto read = DecodeLines(Bytes(out.bytes()), kLists);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kTooLarge);
}

TEST(WorkerDatagram, CarriesDescriptors) {
  std::array<int, 2> ends{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  const Fd left(ends[0]);
  Fd right(ends[1]);
  uint64_t number = 42;
  const std::array<int, 2> sent{0, 1};
  ASSERT_TRUE(SendDatagram(left.get(), {reinterpret_cast<uint8_t*>(&number), 8}, sent));
  uint64_t got = 0;
  const auto fds = ReceiveDatagram(right.get(), {reinterpret_cast<uint8_t*>(&got), 8});
  ASSERT_TRUE(fds) << fds.error().message;
  EXPECT_EQ(got, 42U);
  EXPECT_EQ(fds->size(), 2U);

  ASSERT_TRUE(SendDatagram(left.get(), {reinterpret_cast<uint8_t*>(&number), 4}, {}));
  const auto small = ReceiveDatagram(right.get(), {reinterpret_cast<uint8_t*>(&got), 8});
  ASSERT_FALSE(small);
  EXPECT_EQ(small.error().code, ErrorCode::kMalformed);

  right.Reset();
  const auto closed = SendDatagram(left.get(), {reinterpret_cast<uint8_t*>(&number), 8}, {});
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace hotpath
