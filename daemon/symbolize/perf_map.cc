// Parses perf map files and lays overlapping entries over each other.
#include "daemon/symbolize/perf_map.h"

#include <algorithm>
#include <charconv>
#include <queue>
#include <utility>

#include "daemon/base/utf8.h"

namespace hotpath {
namespace {

constexpr uint32_t kNoName = UINT32_MAX;
constexpr uint64_t kMaxCodeBytes = uint64_t{1} << 31;

// A hexadecimal number and the spaces behind it, taken off `line`.
std::optional<uint64_t> TakeHex(std::string_view* line) {
  if (line->starts_with("0x") || line->starts_with("0X")) line->remove_prefix(2);
  uint64_t value = 0;
  const auto [rest, error] = std::from_chars(line->data(), line->data() + line->size(), value, 16);
  if (error != std::errc()) return std::nullopt;
  line->remove_prefix(static_cast<size_t>(rest - line->data()));
  if (line->empty() || (*line)[0] != ' ') return std::nullopt;
  line->remove_prefix(std::min(line->find_first_not_of(' '), line->size()));
  return value;
}

std::string Printable(std::string_view name) {
  std::string text = ToUtf8(name.substr(0, PerfMap::kMaxNameBytes));
  for (char& c : text) {
    if (static_cast<uint8_t>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

PerfMap PerfMap::Parse(std::string_view text) {
  std::vector<Code> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const auto begin = TakeHex(&line);
    if (!begin) continue;
    const auto bytes = TakeHex(&line);
    if (!bytes || *bytes == 0 || *bytes > kMaxCodeBytes || line.empty()) continue;
    if (*begin > UINT64_MAX - *bytes) continue;
    lines.push_back({*begin, *begin + *bytes, line});
  }
  if (lines.size() > kMaxEntries) {
    lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(kMaxEntries));
  }
  PerfMap map;
  map.Layer(lines);
  return map;
}

// Sweeps over the addresses; of the lines that cover one, the last in the file gives the name.
void PerfMap::Layer(const std::vector<Code>& lines) {
  std::vector<uint32_t> order(lines.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&lines](uint32_t a, uint32_t b) { return lines[a].begin < lines[b].begin; });
  std::vector<uint32_t> names(lines.size(), kNoName);
  std::priority_queue<uint32_t> covering;  // Lines that begin at or before `at`, latest on top.
  size_t next = 0;
  uint64_t at = 0;
  while (next < order.size() || !covering.empty()) {
    while (!covering.empty() && lines[covering.top()].end <= at) covering.pop();
    if (covering.empty()) {
      if (next == order.size()) break;
      at = std::max(at, lines[order[next]].begin);
    }
    while (next < order.size() && lines[order[next]].begin <= at) covering.push(order[next++]);
    while (!covering.empty() && lines[covering.top()].end <= at) covering.pop();
    if (covering.empty()) continue;
    const uint32_t top = covering.top();
    uint64_t until = lines[top].end;
    if (next < order.size()) until = std::min(until, lines[order[next]].begin);
    Append(at, until, lines[top], &names[top]);
    at = until;
  }
  ranges_.shrink_to_fit();
  names_.shrink_to_fit();
  text_.shrink_to_fit();
}

void PerfMap::Append(uint64_t begin, uint64_t end, const Code& code, uint32_t* name) {
  if (*name == kNoName) {
    const std::string text = Printable(code.name);
    *name = static_cast<uint32_t>(names_.size());
    names_.push_back(
        {code.begin, static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(text.size())});
    text_ += text;
  }
  if (!ranges_.empty() && ranges_.back().name == *name &&
      ranges_.back().begin + ranges_.back().bytes == begin) {
    ranges_.back().bytes += static_cast<uint32_t>(end - begin);
    return;
  }
  ranges_.push_back({begin, static_cast<uint32_t>(end - begin), *name});
}

std::optional<PerfMap::Entry> PerfMap::Find(uint64_t address) const {
  const auto after =
      std::upper_bound(ranges_.begin(), ranges_.end(), address,
                       [](uint64_t value, const Range& range) { return value < range.begin; });
  if (after == ranges_.begin()) return std::nullopt;
  const Range& range = *std::prev(after);
  if (address - range.begin >= range.bytes) return std::nullopt;
  const Name& name = names_[range.name];
  return Entry{name.code_begin, std::string_view(text_).substr(name.offset, name.bytes)};
}

size_t PerfMap::bytes() const {
  return ranges_.capacity() * sizeof(Range) + names_.capacity() * sizeof(Name) + text_.capacity();
}

}  // namespace hotpath
