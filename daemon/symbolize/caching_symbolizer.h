// Remembers what another symbolizer answered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/symbolize/symbolizer.h"

namespace hotpath {

// A decorator: frames of files by (build ID, offset) and named kernel frames are kept, the least
// recently used ones dropped past `max_bytes`. What may change is asked again each time: JIT code,
// kernel addresses without a name, files that nothing is known of yet. Borrows `next`. Thread-safe;
// `next` is called without the lock.
class CachingSymbolizer : public Symbolizer {
 public:
  CachingSymbolizer(Symbolizer* next, size_t max_bytes);

  std::vector<SymbolizedFrame> Symbolize(const ProcessKey& process,
                                         std::span<const Frame> frames) override;
  std::string FileKey(FileId file) const override { return next_->FileKey(file); }

  void Clear();  // Gives its memory back.

  struct Counters {
    uint64_t hits = 0, misses = 0, evictions = 0;
    size_t entries = 0, bytes = 0;
  };
  Counters counters() const;

 private:
  struct Key {
    uint64_t file;   // A number for each FileKey; 0: the kernel.
    uint64_t place;  // Offset in the file, or kernel address.
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const {
      return (key.place * 0x9e3779b97f4a7c15 ^ key.file) * 0xff51afd7ed558ccd;
    }
  };
  struct Entry {
    Key key;
    SymbolizedFrame frame;
    size_t bytes;
  };
  using Entries = std::list<Entry>;

  void Keep(const Key& key, const SymbolizedFrame& frame);  // With mutex_ held.
  uint64_t NumberOf(const std::string& file_key);           // With mutex_ held.

  Symbolizer* const next_;
  const size_t max_bytes_;
  mutable std::mutex mutex_;  // Guards all below.
  Entries entries_;           // Used last first.
  std::unordered_map<Key, Entries::iterator, KeyHash> by_key_;
  std::unordered_map<std::string, uint64_t> file_numbers_;
  uint64_t next_file_number_ = 1;
  Counters counters_;
};

}  // namespace hotpath
