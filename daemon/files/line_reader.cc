// Source lines and inlined calls by libdw.
#include "daemon/files/line_reader.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fmt/format.h>
#include <libelf.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "daemon/files/dwarf_names.h"
#include "daemon/files/dwarf_units.h"

namespace hotpath {
namespace {

constexpr size_t kMaxInlined = 128;
constexpr size_t kMaxEntriesPerFunction = 1'000'000;
constexpr size_t kMaxTextBytes = 16 * 1024;  // Of one path.

struct ElfCloser {
  void operator()(Elf* elf) const { elf_end(elf); }
};
struct DwarfCloser {
  void operator()(Dwarf* dwarf) const { dwarf_end(dwarf); }
};

std::string Text(const char* text) {
  if (text == nullptr) return {};
  return {text, strnlen(text, kMaxTextBytes)};
}

// 0 where there is none.
uint64_t Number(Dwarf_Attribute* attribute) {
  Dwarf_Word value = 0;
  if (attribute == nullptr || dwarf_formudata(attribute, &value) != 0) return 0;
  return value;
}

int64_t AsLine(uint64_t line) { return line <= INT32_MAX ? static_cast<int64_t>(line) : 0; }

int64_t DeclarationLine(Dwarf_Die* die) {
  Dwarf_Attribute attribute;
  return AsLine(Number(dwarf_attr_integrate(die, DW_AT_decl_line, &attribute)));
}

// One open file and the one its DWARF was shared into.
class LibdwReader : public LineReader {
 public:
  static Result<std::unique_ptr<LineReader>> Make(int fd, int alternate_fd) {
    auto reader = std::make_unique<LibdwReader>();
    if (auto opened = OpenDwarf(fd, &reader->elf_, &reader->dwarf_); !opened) {
      return std::unexpected(opened.error());
    }
    // Without its alternate file names are missing, but lines are there.
    if (alternate_fd >= 0 &&
        OpenDwarf(alternate_fd, &reader->alternate_elf_, &reader->alternate_dwarf_)) {
      dwarf_setalt(reader->dwarf_.get(), reader->alternate_dwarf_.get());
    }
    reader->units_.emplace(reader->dwarf_.get());
    return reader;
  }

  std::vector<SourceLine> Find(uint64_t address) override;

 private:
  using ElfPointer = std::unique_ptr<Elf, ElfCloser>;
  using DwarfPointer = std::unique_ptr<Dwarf, DwarfCloser>;

  static Result<void> OpenDwarf(int fd, ElfPointer* elf, DwarfPointer* dwarf);
  // The calls that were inlined at `address`, outermost first.
  static std::vector<Dwarf_Die> InlinedCalls(Dwarf_Die function, uint64_t address);
  static std::string AbsolutePath(Dwarf_Die* unit, std::string path);
  static void SetCallSite(Dwarf_Die* unit, Dwarf_Die* call, SourceLine* line);

  // In this order: each is closed before what it reads from.
  ElfPointer elf_, alternate_elf_;
  DwarfPointer alternate_dwarf_, dwarf_;
  std::optional<DwarfUnits> units_;
  DwarfNames names_;
};

Result<void> LibdwReader::OpenDwarf(int fd, ElfPointer* elf, DwarfPointer* dwarf) {
  elf_version(EV_CURRENT);
  elf->reset(elf_begin(fd, ELF_C_READ, nullptr));
  if (*elf == nullptr) {
    return Fail(ErrorCode::kMalformed, fmt::format("read ELF: {}", elf_errmsg(-1)));
  }
  dwarf->reset(dwarf_begin_elf(elf->get(), DWARF_C_READ, nullptr));
  if (*dwarf != nullptr) return {};
  const int error = dwarf_errno();
  const std::string message = fmt::format("read DWARF: {}", dwarf_errmsg(error));
  const bool is_elf = elf_kind(elf->get()) == ELF_K_ELF;
  return Fail(is_elf && message.contains("no DWARF") ? ErrorCode::kNotFound : ErrorCode::kMalformed,
              message);
}

std::vector<Dwarf_Die> LibdwReader::InlinedCalls(Dwarf_Die function, uint64_t address) {
  std::vector<Dwarf_Die> calls;
  Dwarf_Die die;
  if (dwarf_child(&function, &die) != 0) return calls;
  for (size_t entries = 0; entries < kMaxEntriesPerFunction; ++entries) {
    const int tag = dwarf_tag(&die);
    Dwarf_Die child;
    const bool is_call = tag == DW_TAG_inlined_subroutine;
    if ((is_call || tag == DW_TAG_lexical_block || tag == DW_TAG_try_block ||
         tag == DW_TAG_catch_block) &&
        dwarf_haspc(&die, address) == 1) {
      if (is_call) calls.push_back(die);
      if (calls.size() >= kMaxInlined || dwarf_child(&die, &child) != 0) break;
      die = child;
      continue;
    }
    if (dwarf_siblingof(&die, &child) != 0) break;
    die = child;
  }
  return calls;
}

std::string LibdwReader::AbsolutePath(Dwarf_Die* unit, std::string path) {
  if (path.empty() || path.starts_with('/')) return path;
  const std::string directory = StringAttribute(unit, DW_AT_comp_dir);
  if (directory.empty()) return path;
  if (path.starts_with("./")) path.erase(0, 2);
  return directory + (directory.ends_with('/') ? "" : "/") + path;
}

void LibdwReader::SetCallSite(Dwarf_Die* unit, Dwarf_Die* call, SourceLine* line) {
  Dwarf_Attribute attribute;
  line->line = AsLine(Number(dwarf_attr(call, DW_AT_call_line, &attribute)));
  const uint64_t file = Number(dwarf_attr(call, DW_AT_call_file, &attribute));
  Dwarf_Files* files = nullptr;
  size_t count = 0;
  if (dwarf_getsrcfiles(unit, &files, &count) == 0 && file < count) {
    line->file = AbsolutePath(unit, Text(dwarf_filesrc(files, file, nullptr, nullptr)));
  }
}

std::vector<SourceLine> LibdwReader::Find(uint64_t address) {
  auto unit = units_->FindUnit(address);
  if (!unit) return {};
  SourceLine innermost;
  if (Dwarf_Line* line = dwarf_getsrc_die(&*unit, address); line != nullptr) {
    int number = 0;
    if (dwarf_lineno(line, &number) == 0) innermost.line = std::max(number, 0);
    innermost.file = AbsolutePath(&*unit, Text(dwarf_linesrc(line, nullptr, nullptr)));
  }
  auto function = units_->FindFunction(*unit, address);
  if (!function) {
    if (innermost.file.empty()) return {};
    return {std::move(innermost)};
  }
  std::vector<Dwarf_Die> calls = InlinedCalls(*function, address);
  std::vector<SourceLine> lines(calls.size() + 1);
  lines[0] = std::move(innermost);
  for (size_t i = 0; i < lines.size(); ++i) {
    // lines[0] is the innermost call, calls.back(); the last one is the function itself.
    const bool physical = i == calls.size();
    Dwarf_Die* die = physical ? &*function : &calls[calls.size() - 1 - i];
    lines[i].function = names_.Of(&*unit, die);
    lines[i].start_line = DeclarationLine(die);
    if (!physical) SetCallSite(&*unit, die, &lines[i + 1]);
  }
  return lines;
}

}  // namespace

Result<std::unique_ptr<LineReader>> LineReader::Open(int fd, int alternate_fd) {
  return LibdwReader::Make(fd, alternate_fd);
}

}  // namespace hotpath
