// A bounded cache of symbolized frames.
#include "daemon/symbolize/caching_symbolizer.h"

#include <optional>
#include <utility>

namespace hotpath {
namespace {

constexpr size_t kMaxFileNumbers = 20'000;  // Beyond, all numbers and entries are dropped.

size_t BytesOf(const SymbolizedFrame& frame) {
  size_t bytes = 160;  // List node, hash node, the frame itself.
  for (const SourceFrame& line : frame.lines) {
    bytes += sizeof(line) + line.function.capacity() + line.system_function.capacity() +
             line.file.capacity();
  }
  return bytes;
}

}  // namespace

CachingSymbolizer::CachingSymbolizer(Symbolizer* next, size_t max_bytes)
    : next_(next), max_bytes_(max_bytes) {}

uint64_t CachingSymbolizer::NumberOf(const std::string& file_key) {
  if (file_numbers_.size() >= kMaxFileNumbers && !file_numbers_.contains(file_key)) {
    counters_.evictions += entries_.size();
    counters_.bytes = 0;
    by_key_.clear();
    entries_.clear();
    file_numbers_.clear();  // Numbers are not used twice, so keys made before find nothing.
  }
  const auto [entry, is_new] = file_numbers_.try_emplace(file_key, next_file_number_);
  if (is_new) ++next_file_number_;
  return entry->second;
}

void CachingSymbolizer::Keep(const Key& key, const SymbolizedFrame& frame) {
  if (by_key_.contains(key)) return;  // Another thread was faster.
  const size_t bytes = BytesOf(frame);
  if (bytes > max_bytes_) return;
  entries_.push_front({key, frame, bytes});
  by_key_.emplace(key, entries_.begin());
  counters_.bytes += bytes;
  while (counters_.bytes > max_bytes_) {
    counters_.bytes -= entries_.back().bytes;
    by_key_.erase(entries_.back().key);
    entries_.pop_back();
    ++counters_.evictions;
  }
}

std::vector<SymbolizedFrame> CachingSymbolizer::Symbolize(const ProcessKey& process,
                                                          std::span<const Frame> frames) {
  std::unordered_map<FileId, std::string> file_keys;
  for (const Frame frame : frames) {
    if (frame.kind() != FrameKind::kFile) continue;
    const auto [entry, is_new] = file_keys.try_emplace(frame.file());
    if (is_new) entry->second = next_->FileKey(frame.file());
  }

  std::vector<SymbolizedFrame> out(frames.size());
  std::vector<std::optional<Key>> keys(frames.size());
  std::vector<Frame> missing;
  std::vector<size_t> positions;
  {
    const std::lock_guard lock(mutex_);
    std::unordered_map<FileId, uint64_t> numbers;
    for (const auto& [file, key] : file_keys) {
      if (!key.empty()) numbers.emplace(file, NumberOf(key));
    }
    for (size_t i = 0; i < frames.size(); ++i) {
      const Frame frame = frames[i];
      if (frame.kind() == FrameKind::kKernel) keys[i] = Key{0, frame.address()};
      if (frame.kind() == FrameKind::kFile) {
        const auto number = numbers.find(frame.file());
        if (number != numbers.end()) keys[i] = Key{number->second, frame.offset()};
      }
      const auto found = keys[i] ? by_key_.find(*keys[i]) : by_key_.end();
      if (found == by_key_.end()) {
        missing.push_back(frame);
        positions.push_back(i);
        ++counters_.misses;
        continue;
      }
      entries_.splice(entries_.begin(), entries_, found->second);
      out[i] = found->second->frame;
      ++counters_.hits;
    }
  }
  if (missing.empty()) return out;

  std::vector<SymbolizedFrame> answers = next_->Symbolize(process, missing);
  // A file that became another meanwhile: its answers may be of either.
  for (auto& [file, key] : file_keys) {
    if (key != next_->FileKey(file)) key.clear();
  }
  const std::lock_guard lock(mutex_);
  for (size_t k = 0; k < positions.size(); ++k) {
    const size_t i = positions[k];
    const bool may_change = frames[i].kind() == FrameKind::kKernel
                                ? !answers[k].named
                                : keys[i] && file_keys.at(frames[i].file()).empty();
    if (keys[i] && !may_change) Keep(*keys[i], answers[k]);
    out[i] = std::move(answers[k]);
  }
  return out;
}

void CachingSymbolizer::Clear() {
  const std::lock_guard lock(mutex_);
  counters_.evictions += entries_.size();
  counters_.bytes = 0;
  by_key_.clear();
  entries_.clear();
}

CachingSymbolizer::Counters CachingSymbolizer::counters() const {
  const std::lock_guard lock(mutex_);
  Counters counters = counters_;
  counters.entries = entries_.size();
  return counters;
}

}  // namespace hotpath
