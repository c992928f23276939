// The codec between the file worker and its child; everything decoded is checked here.
#include "daemon/files/worker_protocol.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <map>

#include "bpf/abi.h"

namespace hotpath {
namespace {

constexpr size_t kMaxRules = 65'536;
constexpr size_t kMaxBuildIdBytes = 128;
constexpr size_t kMaxLinkBytes = 4'096;
constexpr size_t kMaxMessageBytes = 512;

bool IsLowerHex(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// Text that goes into paths and logs: no NUL and no control characters.
bool IsPlain(std::string_view text) {
  return text.size() <= kMaxLinkBytes && std::ranges::none_of(text, [](char c) {
           return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
         });
}

// Text for logs: what is not plain becomes '?'.
std::string Printable(std::string text) {
  text.resize(std::min(text.size(), kMaxMessageBytes));
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return text;
}

bool IsRule(const hp_rule& rule) {
  return rule.cfa_kind <= HP_CFA_FRAME_POINTER && rule.cfa_reg < 16 &&
         rule.rbp_kind <= HP_RBP_UNDEFINED && rule.rbx_kind <= HP_RBX_UNDEFINED && rule.ra <= 16;
}

std::unexpected<Error> Bad(std::string_view what) {
  return Fail(ErrorCode::kMalformed, fmt::format("file worker's answer: {}", what));
}

}  // namespace

void PayloadWriter::Number(uint64_t value) {
  std::array<char, sizeof value> raw;
  std::memcpy(raw.data(), &value, sizeof value);
  bytes_.append(raw.data(), raw.size());
}

void PayloadWriter::Text(std::string_view text) {
  text = text.substr(0, kMaxNameBytes);
  Number(text.size());
  bytes_.append(text);
}

uint64_t PayloadReader::Number() {
  uint64_t value = 0;
  if (!ok_ || rest_.size() < sizeof value) {
    ok_ = false;
    return 0;
  }
  std::memcpy(&value, rest_.data(), sizeof value);
  rest_ = rest_.subspan(sizeof value);
  return value;
}

uint64_t PayloadReader::Count(uint64_t bytes_each) {
  const uint64_t count = Number();
  if (count > rest_.size() / bytes_each) ok_ = false;
  return ok_ ? count : 0;
}

std::string PayloadReader::Text() {
  const uint64_t bytes = Count(1);
  if (bytes > kMaxNameBytes) ok_ = false;
  if (!ok_) return {};
  std::string text(reinterpret_cast<const char*>(rest_.data()), bytes);
  rest_ = rest_.subspan(bytes);
  return text;
}

std::string EncodeFacts(const FileIndex& index) {
  PayloadWriter out;
  out.Text(index.build_id);
  out.Text(index.table_source);
  out.Text(index.debug_link);
  out.Text(index.alternate_link);
  out.Text(index.alternate_build_id);
  out.Text(index.table_failure);
  out.Text(index.symbol_failure);
  out.Number(index.debug_link_crc);
  out.Number(index.has_debug_info ? 1 : 0);
  out.Number(index.damaged);
  for (const uint32_t field :
       {index.info.state, index.info.first_block, index.info.blocks, index.info.rows_at}) {
    out.Number(field);
  }
  out.Number(index.segments.size());
  for (const ElfSegment& segment : index.segments) {
    out.Number(segment.file_offset);
    out.Number(segment.address);
    out.Number(segment.file_bytes);
    out.Number(segment.memory_bytes);
    out.Number(segment.executable ? 1 : 0);
  }
  out.Number(index.rules.size());
  for (const hp_rule& rule : index.rules) {
    const auto halves = std::bit_cast<std::array<uint64_t, 2>>(rule);
    out.Number(halves[0]);
    out.Number(halves[1]);
  }
  return out.bytes();
}

Result<FileIndex> DecodeFacts(std::span<const uint8_t> bytes) {
  PayloadReader in(bytes);
  FileIndex index;
  index.build_id = in.Text();
  index.table_source = in.Text();
  index.debug_link = in.Text();
  index.alternate_link = in.Text();
  index.alternate_build_id = in.Text();
  index.table_failure = Printable(in.Text());
  index.symbol_failure = Printable(in.Text());
  index.debug_link_crc = static_cast<uint32_t>(in.Number());
  index.has_debug_info = in.Number() != 0;
  index.damaged = in.Number();
  for (uint32_t* field :
       {&index.info.state, &index.info.first_block, &index.info.blocks, &index.info.rows_at}) {
    *field = static_cast<uint32_t>(in.Number());
  }
  const uint64_t segments = in.Count(5 * sizeof(uint64_t));
  if (segments > ElfFile::kMaxSegments) return Bad("too many segments");
  for (uint64_t i = 0; i < segments; ++i) {
    ElfSegment segment{};
    segment.file_offset = in.Number();
    segment.address = in.Number();
    segment.file_bytes = in.Number();
    segment.memory_bytes = in.Number();
    segment.executable = in.Number() != 0;
    uint64_t end = 0;
    if (__builtin_add_overflow(segment.file_offset, segment.file_bytes, &end) ||
        __builtin_add_overflow(segment.address, segment.memory_bytes, &end)) {
      return Bad(fmt::format("segment {} wraps around", i));
    }
    index.segments.push_back(segment);
  }
  const uint64_t rules = in.Count(2 * sizeof(uint64_t));
  if (rules > kMaxRules) return Bad("too many rules");
  for (uint64_t i = 0; i < rules; ++i) {
    const uint64_t low = in.Number();
    const auto rule = std::bit_cast<hp_rule>(std::array<uint64_t, 2>{low, in.Number()});
    if (!IsRule(rule)) return Bad(fmt::format("rule {} is none", i));
    index.rules.push_back(rule);
  }
  if (!in.AtEnd()) return Bad("its length is wrong");
  if (index.build_id.size() > kMaxBuildIdBytes || !IsLowerHex(index.build_id) ||
      index.alternate_build_id.size() > kMaxBuildIdBytes || !IsLowerHex(index.alternate_build_id)) {
    return Bad("a build ID is not hexadecimal");
  }
  if (index.table_source != "eh_frame" && index.table_source != "debug_frame" &&
      index.table_source != "none") {
    return Bad("an unknown table source");
  }
  // Links are hints in a foreign file: one that cannot be a name is no link.
  if (!IsPlain(index.debug_link) || index.debug_link.contains('/')) index.debug_link.clear();
  if (!IsPlain(index.alternate_link)) index.alternate_link.clear();
  return index;
}

Result<void> CheckWords(std::span<const uint32_t> words, FileIndex& index) {
  const hp_file_info& info = index.info;
  index.word_count = words.size();
  index.row_count = 0;
  if (words.empty()) {
    if (index.table_source != "none" && index.table_failure.empty()) {
      return Bad("a table without words");
    }
    return {};
  }
  if (info.state != HP_TABLE_READY) return Bad("the table's state is not ready");
  if (words.size() % HP_TABLE_LINE_WORDS != 0 || info.rows_at % HP_TABLE_LINE_WORDS != 0) {
    return Bad("the table is not made of whole lines");
  }
  if (info.rows_at <= info.blocks || info.rows_at > words.size()) {
    return Bad("the rows do not follow the blocks");
  }
  if (uint64_t{info.first_block} + info.blocks > (HP_FRAME_OFFSET_MASK >> HP_BLOCK_SHIFT) + 1) {
    return Bad("the blocks lie past the largest offset");
  }
  if (index.rules.empty() || index.rules[0].cfa_kind != HP_CFA_NONE) {
    return Bad("rule 0 is not the empty rule");
  }
  const std::span rows = words.subspan(info.rows_at);
  const uint32_t row_count = words[info.blocks];
  if (row_count > rows.size()) return Bad("more rows than words");
  if (words[0] != 0) return Bad("the first block does not begin with row 0");
  if (info.blocks > 0 &&
      (row_count == 0 || rows[0] != ((info.first_block << HP_BLOCK_SHIFT) & 0xffff))) {
    return Bad("row 0 is not the gap at the first block's start");
  }
  for (uint32_t block = 0; block < info.blocks; ++block) {
    const uint32_t first = words[block];
    const uint32_t end = words[block + 1];
    if (first > end || end > row_count) {
      return Bad(fmt::format("block {} of {} is out of order", block, info.blocks));
    }
    const uint32_t low = (info.first_block + block) & (0xffffU >> HP_BLOCK_SHIFT);
    uint32_t previous = 0;
    for (uint32_t i = first; i < end; ++i) {
      const uint32_t offset = rows[i] & 0xffff;
      // Row 0, the gap, and the first rule may share the first block's start.
      const bool in_order = i == first || offset > previous || (i == 1 && offset == previous);
      if (offset >> HP_BLOCK_SHIFT != low || !in_order) {
        return Bad(fmt::format("row {} is not where block {} has it", i, block));
      }
      if (rows[i] >> 16 >= index.rules.size()) {
        return Bad(fmt::format("row {} has rule {} of {}", i, rows[i] >> 16, index.rules.size()));
      }
      previous = offset;
    }
  }
  index.row_count = row_count;
  return {};
}

std::string EncodeLines(const std::vector<std::vector<SourceLine>>& lines) {
  std::vector<std::string_view> texts;
  std::map<std::string_view, uint64_t> numbers;
  const auto number = [&](std::string_view text) {
    const auto [at, fresh] = numbers.emplace(text, texts.size());
    if (fresh) texts.push_back(text);
    return at->second;
  };
  PayloadWriter frames;
  for (const auto& list : lines) {
    const size_t depth = std::min<size_t>(list.size(), kMaxInlineDepth);
    frames.Number(depth);
    for (const SourceLine& line : std::span(list).first(depth)) {
      frames.Number(number(line.function));
      frames.Number(number(line.file));
      frames.Number(static_cast<uint64_t>(line.line));
      frames.Number(static_cast<uint64_t>(line.start_line));
    }
  }
  PayloadWriter out;
  out.Number(texts.size());
  for (const std::string_view text : texts) out.Text(text);
  return out.bytes() + frames.bytes();
}

Result<std::vector<std::vector<SourceLine>>> DecodeLines(std::span<const uint8_t> bytes,
                                                         size_t addresses) {
  PayloadReader in(bytes);
  std::vector<std::string> texts(in.Count(sizeof(uint64_t)));
  for (std::string& text : texts) text = in.Text();
  std::vector<std::vector<SourceLine>> lines;
  uint64_t copied = 0;  // Texts are shared in the answer, and copied here: that has a bound too.
  while (in.ok() && !in.AtEnd()) {
    if (lines.size() == addresses) return Bad("more lists of lines than addresses");
    const uint64_t depth = in.Count(4 * sizeof(uint64_t));
    if (depth > kMaxInlineDepth) return Bad("a list of lines is too long");
    auto& list = lines.emplace_back(depth);
    for (SourceLine& line : list) {
      const uint64_t function = in.Number();
      const uint64_t file = in.Number();
      if (function >= texts.size() || file >= texts.size()) return Bad("a text that is not there");
      copied += texts[function].size() + texts[file].size();
      if (copied > kMaxLinesBytes) return Fail(ErrorCode::kTooLarge, "too many lines");
      line.function = texts[function];
      line.file = texts[file];
      // Lines are int64 in profiles; a negative one would say nothing.
      line.line = std::max<int64_t>(0, static_cast<int64_t>(in.Number()));
      line.start_line = std::max<int64_t>(0, static_cast<int64_t>(in.Number()));
    }
  }
  if (!in.ok() || lines.size() != addresses) return Bad("its lines are cut short");
  return lines;
}

Result<void> SendDatagram(int socket, std::span<const uint8_t> bytes, std::span<const int> fds) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxRequestFds)> control{};
  if (fds.size() > kMaxRequestFds) return Fail(ErrorCode::kTooLarge, "too many descriptors");
  iovec part{const_cast<uint8_t*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  ssize_t sent = 0;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent == static_cast<ssize_t>(bytes.size())) return {};
  if (sent < 0 && (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)) {
    return Fail(ErrorCode::kUnavailable, "the file worker's socket is closed");
  }
  return FailErrno("send to the file worker");
}

Result<std::vector<Fd>> ReceiveDatagram(int socket, std::span<uint8_t> bytes) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxRequestFds)> control{};
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t received = 0;
  do {
    received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0 && errno != ECONNRESET) return FailErrno("receive from the file worker");

  std::vector<Fd> fds;  // Taken first, so that none leaks when the datagram is refused.
  for (cmsghdr* header = received < 0 ? nullptr : CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  if (received <= 0) return Fail(ErrorCode::kUnavailable, "the file worker's socket is closed");
  if (received != static_cast<ssize_t>(bytes.size()) ||
      (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return Fail(ErrorCode::kMalformed, "a datagram of the wrong size");
  }
  return fds;
}

Result<void> WriteAll(int fd, std::span<const uint8_t> bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t wrote =
        pwrite(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0 && errno == EFBIG) return Fail(ErrorCode::kTooLarge, "the output is too large");
    if (wrote <= 0) return FailErrno("write output");
    done += static_cast<size_t>(wrote);
  }
  return {};
}

Result<void> ReadAll(int fd, std::span<uint8_t> bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t got =
        pread(fd, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno("read output");
    if (got == 0) return Fail(ErrorCode::kMalformed, "the output is shorter than stated");
    done += static_cast<size_t>(got);
  }
  return {};
}

}  // namespace hotpath
