// Reads kallsyms in one pass and looks addresses up by bisection.
#include "daemon/symbolize/kernel_symbolizer.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include "daemon/base/fd.h"
#include "daemon/base/utf8.h"

namespace hotpath {
namespace {

constexpr size_t kMaxFileBytes = size_t{512} << 20;
constexpr size_t kMaxNotesBytes = 64 * 1024;

size_t LeadingUnderscores(std::string_view name) {
  return std::min(name.find_first_not_of('_'), name.size());
}

// Calls `take` with pieces of the file until its end.
template <typename Take>
void ReadPieces(const std::string& path, size_t max_bytes, Take take) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return;
  std::vector<char> buffer(256 * 1024);
  for (size_t total = 0; total < max_bytes;) {
    // Under the symbolizer's lock: who waits for it needs the same symbols.
    // NOLINTNEXTLINE(clang-analyzer-unix.BlockInCriticalSection)
    const ssize_t n = read(fd.get(), buffer.data(), std::min(buffer.size(), max_bytes - total));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    take(std::string_view(buffer.data(), static_cast<size_t>(n)));
    total += static_cast<size_t>(n);
  }
}

// The GNU build ID among the notes in `path`, in hex; empty when there is none.
std::string ReadBuildId(const std::string& path) {
  std::string notes;
  ReadPieces(path, kMaxNotesBytes, [&notes](std::string_view piece) { notes += piece; });
  std::string build_id;
  for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= notes.size();) {
    Elf64_Nhdr note;
    std::memcpy(&note, notes.data() + at, sizeof(note));
    const size_t name_at = at + sizeof(note);
    const size_t bytes_at = name_at + ((size_t{note.n_namesz} + 3) & ~size_t{3});
    if (bytes_at + note.n_descsz > notes.size()) break;
    if (note.n_type == NT_GNU_BUILD_ID && notes.compare(name_at, 4, "GNU\0", 4) == 0) {
      for (const char c : notes.substr(bytes_at, std::min<size_t>(note.n_descsz, 64))) {
        build_id += fmt::format("{:02x}", static_cast<uint8_t>(c));
      }
      break;
    }
    at = bytes_at + ((size_t{note.n_descsz} + 3) & ~size_t{3});
  }
  return build_id;
}

}  // namespace

// Takes lines as they come; sorts at the end.
class KernelSymbols::Builder {
 public:
  void Line(std::string_view line) {
    uint64_t address = 0;
    const auto [rest, error] = std::from_chars(line.data(), line.data() + line.size(), address, 16);
    if (error != std::errc()) return;
    line.remove_prefix(static_cast<size_t>(rest - line.data()));
    if (line.size() < 4 || line[0] != ' ' || line[2] != ' ') return;
    const char type = line[1];
    if (type != 'T' && type != 't' && type != 'W' && type != 'w') return;
    const std::string_view name =
        line.substr(3, std::min(line.find_first_of("\t ", 3), kMaxNameBytes + 3) - 3);
    if (name.empty() || entries_.size() >= kMaxSymbols || names_.size() > UINT32_MAX / 2) return;
    ++seen_;
    if (address == 0) return;
    entries_.push_back({address, static_cast<uint32_t>(names_.size()),
                        static_cast<uint16_t>(name.size()), type == 'T'});
    names_ += name;
  }

  KernelSymbols Finish() {
    KernelSymbols symbols;
    symbols.hidden_ = seen_ > 0 && entries_.empty();
    std::sort(entries_.begin(), entries_.end(),
              [this](const Entry& a, const Entry& b) { return Less(a, b); });
    uint64_t last = 0;
    for (const Entry& entry : entries_) {
      if (entry.address == last) continue;
      last = entry.address;
      symbols.starts_.push_back(entry.address);
      symbols.offsets_.push_back(static_cast<uint32_t>(symbols.names_.size()));
      const std::string_view name = NameOf(entry);
      symbols.names_ += IsUtf8(name) ? std::string(name) : ToUtf8(name);
    }
    symbols.starts_.shrink_to_fit();
    symbols.offsets_.shrink_to_fit();
    symbols.names_.shrink_to_fit();
    return symbols;
  }

 private:
  struct Entry {
    uint64_t address;
    uint32_t name_at;
    uint16_t name_bytes;
    bool global;
  };
  std::string_view NameOf(const Entry& entry) const {
    return std::string_view(names_).substr(entry.name_at, entry.name_bytes);
  }
  // By address; of two names for one the better first, as in a file's symbol index.
  bool Less(const Entry& a, const Entry& b) const {
    if (a.address != b.address) return a.address < b.address;
    if (a.global != b.global) return a.global;
    const std::string_view a_name = NameOf(a), b_name = NameOf(b);
    const size_t a_underscores = LeadingUnderscores(a_name);
    const size_t b_underscores = LeadingUnderscores(b_name);
    if (a_underscores != b_underscores) return a_underscores < b_underscores;
    if (a_name.size() != b_name.size()) return a_name.size() < b_name.size();
    return a_name < b_name;
  }

  std::vector<Entry> entries_;
  std::string names_;
  size_t seen_ = 0;
};

KernelSymbols KernelSymbols::Parse(std::string_view kallsyms) {
  Builder builder;
  while (!kallsyms.empty()) {
    const size_t end = std::min(kallsyms.find('\n'), kallsyms.size());
    builder.Line(kallsyms.substr(0, end));
    kallsyms.remove_prefix(std::min(end + 1, kallsyms.size()));
  }
  return builder.Finish();
}

KernelSymbols KernelSymbols::Read(const std::string& path) {
  Builder builder;
  std::string partial;  // The line that the last piece ended in.
  ReadPieces(path, kMaxFileBytes, [&](std::string_view piece) {
    while (!piece.empty()) {
      const size_t end = piece.find('\n');
      if (end == std::string_view::npos) {
        if (partial.size() < 4 * kMaxNameBytes) partial += piece;
        return;
      }
      if (partial.empty()) {
        builder.Line(piece.substr(0, end));
      } else {
        partial += piece.substr(0, end);
        builder.Line(partial);
        partial.clear();
      }
      piece.remove_prefix(end + 1);
    }
  });
  return builder.Finish();
}

std::string_view KernelSymbols::NameAt(size_t index) const {
  const size_t begin = offsets_[index];
  const size_t end = index + 1 < offsets_.size() ? offsets_[index + 1] : names_.size();
  return std::string_view(names_).substr(begin, end - begin);
}

std::optional<KernelSymbols::Symbol> KernelSymbols::Find(uint64_t address) const {
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), address);
  if (after == starts_.begin()) return std::nullopt;
  const auto index = static_cast<size_t>(after - starts_.begin()) - 1;
  if (address - starts_[index] >= kMaxFunctionBytes) return std::nullopt;
  return Symbol{starts_[index], NameAt(index)};
}

KernelSymbolizer::KernelSymbolizer() : KernelSymbolizer(Options()) {}
KernelSymbolizer::KernelSymbolizer(Options options)
    : options_(std::move(options)), build_id_(ReadBuildId(options_.notes)) {}

void KernelSymbolizer::Load() {
  symbols_.reset();  // Two at a time would be twice the memory.
  symbols_ = KernelSymbols::Read(options_.kallsyms);
  loaded_at_ = options_.now();
  if ((symbols_->hidden() || symbols_->size() == 0) && !said_hidden_) {
    said_hidden_ = true;
    spdlog::warn(
        "kernel functions have no names: {} {}; run with CAP_SYSLOG, or set "
        "kernel.kptr_restrict to 0 or 1",
        options_.kallsyms, symbols_->hidden() ? "hides all addresses" : "cannot be read");
  }
}

std::optional<KernelSymbolizer::Name> KernelSymbolizer::Find(uint64_t address) {
  const std::lock_guard lock(mutex_);
  if (!symbols_) Load();
  auto symbol = symbols_->Find(address);
  if (!symbol && options_.now() - loaded_at_ >= options_.reload_interval) {
    Load();
    symbol = symbols_->Find(address);
  }
  if (!symbol) {
    ++unknown_addresses_;
    return std::nullopt;
  }
  return Name{symbol->address, std::string(symbol->name)};
}

uint64_t KernelSymbolizer::unknown_addresses() const {
  const std::lock_guard lock(mutex_);
  return unknown_addresses_;
}

}  // namespace hotpath
