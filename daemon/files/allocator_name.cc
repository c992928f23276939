// Looks for the texts by which allocators tell their version.
#include "daemon/files/allocator_name.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <vector>

namespace hotpath {
namespace {

constexpr uint64_t kMaxDataBytes = 16 << 20;  // Of one segment; versions lie in read-only data.
constexpr size_t kMaxVersionBytes = 16;

struct Telling {
  std::string_view symbol, allocator;
};

// The first that a file has decides: gperftools, too, defines __libc_malloc.
constexpr Telling kTelling[] = {
    {"mi_malloc", "mimalloc"},         {"mi_version", "mimalloc"},
    {"mallctl", "jemalloc"},           {"je_mallctl", "jemalloc"},
    {"_rjem_mallctl", "jemalloc"},     {"tc_version", "gperftools"},
    {"tc_malloc", "gperftools"},       {"TCMallocInternalMalloc", "tcmalloc"},
    {"gnu_get_libc_version", "glibc"}, {"_int_malloc", "glibc"},
    {"__libc_malloc_impl", "musl"},    {"__malloc_donate", "musl"},
};

// What begins with a digit at `at` and goes on with digits and dots; empty when it ends in neither
// NUL, space nor '-', as a version does not.
std::string VersionAt(std::string_view data, size_t at) {
  if (at >= data.size() || std::isdigit(static_cast<unsigned char>(data[at])) == 0) return {};
  size_t end = at;
  while (end < data.size() &&
         (std::isdigit(static_cast<unsigned char>(data[end])) != 0 || data[end] == '.')) {
    ++end;
  }
  const bool ends_sentence = end > at && data[end - 1] == '.';
  const bool ends =
      end < data.size() && (data[end] == '\0' || data[end] == ' ' || data[end] == '-');
  if (end - at > kMaxVersionBytes || !(ends || ends_sentence)) return {};
  std::string version(data.substr(at, end - at));
  if (ends_sentence) version.pop_back();
  return version.find('.') == std::string::npos ? std::string() : version;
}

std::string VersionBehind(std::string_view data, std::string_view text) {
  const size_t at = data.find(text);
  return at == std::string_view::npos ? std::string() : VersionAt(data, at + text.size());
}

// "5.3.0-0-g54eaed1d...": a text of its own, which holds "-g" and 40 digits.
std::string JemallocVersion(std::string_view data) {
  constexpr size_t kHashDigits = 40;
  for (size_t at = data.find("-g"); at != std::string_view::npos; at = data.find("-g", at + 1)) {
    const std::string_view hash = data.substr(at + 2, kHashDigits);
    const size_t begin = data.rfind('\0', at) + 1;  // npos + 1 is the start of the data.
    const bool is_hash = hash.size() == kHashDigits && std::ranges::all_of(hash, [](char c) {
                           return std::isxdigit(static_cast<unsigned char>(c)) != 0;
                         });
    if (is_hash && at - begin <= 2 * kMaxVersionBytes) return VersionAt(data, begin);
  }
  return {};
}

// "1.2.3": a text of its own in the C library.
std::string MuslVersion(std::string_view data) {
  using namespace std::string_view_literals;
  for (const std::string_view start : {"\0001."sv, "\0002."sv}) {
    for (size_t at = data.find(start); at != std::string_view::npos;
         at = data.find(start, at + 1)) {
      const std::string version = VersionAt(data, at + 1);
      const size_t end = at + 1 + version.size();
      const bool is_whole = end < data.size() && data[end] == '\0';
      if (is_whole && std::ranges::count(version, '.') == 2) return version;
    }
  }
  return {};
}

std::string VersionOf(std::string_view allocator, std::string_view data) {
  if (allocator == "glibc" && data.find("GNU C Library (") != std::string_view::npos) {
    return VersionBehind(data.substr(data.find("GNU C Library (")), "stable release version ");
  }
  if (allocator == "jemalloc") return JemallocVersion(data);
  if (allocator == "gperftools") return VersionBehind(data, "gperftools ");
  if (allocator == "musl") return MuslVersion(data);
  return {};
}

std::vector<std::string> DataOf(const ElfFile& elf) {
  std::vector<std::string> all;
  for (const ElfSegment& segment : elf.segments()) {
    if (segment.executable) continue;
    const auto bytes = elf.Read(segment.file_offset, std::min(segment.file_bytes, kMaxDataBytes));
    if (bytes) all.emplace_back(bytes->begin(), bytes->end());
  }
  return all;
}

}  // namespace

bool TellsAllocator(std::string_view symbol) {
  return std::ranges::find(kTelling, symbol, &Telling::symbol) != std::end(kTelling);
}

std::string NameAllocator(const ElfFile& elf, const std::set<std::string, std::less<>>& telling) {
  const std::vector<std::string> all = DataOf(elf);
  const auto found = std::ranges::find_if(
      kTelling, [&telling](const Telling& tells) { return telling.contains(tells.symbol); });
  std::string_view allocator = "unknown";
  if (found != std::end(kTelling)) {
    allocator = found->allocator;
  } else if (std::ranges::any_of(
                 all, [](const std::string& data) { return data.contains("musl libc ("); })) {
    allocator = "musl";
  }
  for (const std::string& data : all) {
    const std::string version = VersionOf(allocator, data);
    if (!version.empty()) return std::string(allocator) + " " + version;
  }
  return std::string(allocator);
}

}  // namespace hotpath
