// Dispatches frames by kind and puts names, lines and inlined calls together.
#include "daemon/symbolize/elf_symbolizer.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "daemon/symbolize/demangle.h"

namespace hotpath {
namespace {

constexpr std::chrono::hours kRetryLinesAfter{1};
constexpr size_t kMaxAddressesPerRequest = 100'000;

std::shared_ptr<const MappingInfo> MappingNamed(std::string_view name) {
  return std::make_shared<const MappingInfo>(
      MappingInfo{.file = std::string(name), .build_id = {}});
}

std::string_view Basename(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

// A frame of one line that has nothing but a name.
void SetName(std::string name, bool named, SymbolizedFrame* out) {
  out->named = named;
  out->lines.resize(1);
  out->lines[0].function = name;
  out->lines[0].system_function = std::move(name);
}

void SetUnnamed(std::string_view file, uint64_t address, SymbolizedFrame* out) {
  SetName(fmt::format("{}+{:#x}", file, address), false, out);
}

// Many frames of a batch lie in few functions.
class DemangledNames {
 public:
  const std::string& Of(const std::string& mangled) {
    const auto [entry, is_new] = names_.try_emplace(mangled);
    if (is_new) entry->second = Demangle(mangled).name;
    return entry->second;
  }

 private:
  std::unordered_map<std::string, std::string> names_;
};

SourceFrame FromSourceLine(SourceLine line, DemangledNames* names) {
  SourceFrame frame;
  frame.function = line.function.empty() ? "[inlined]" : names->Of(line.function);
  frame.system_function = line.function.empty() ? frame.function : std::move(line.function);
  frame.file = std::move(line.file);
  frame.line = line.line;
  frame.start_line = line.start_line;
  return frame;
}

// `lines`: what DWARF knows, the physical function last; may be empty. Of that function the symbol
// table's name counts ("foo.cold" is its own piece of code), DWARF's only where there is none.
void SetFunction(const std::optional<IndexedSymbol>& symbol, std::vector<SourceLine> lines,
                 std::string_view file, DemangledNames* names, SymbolizedFrame* out) {
  const bool has_symbol = symbol && !symbol->name.empty();
  const bool has_dwarf = !lines.empty() && !lines.back().function.empty();
  if (lines.empty()) lines.emplace_back();
  if (has_symbol) lines.back().function = symbol->name;
  if (!has_symbol && !has_dwarf) {
    const SourceLine physical = std::move(lines.back());
    lines.pop_back();
    for (SourceLine& line : lines) out->lines.push_back(FromSourceLine(std::move(line), names));
    std::string name = fmt::format("{}+{:#x}", file, symbol ? symbol->address : out->address);
    out->lines.push_back({.function = name,
                          .system_function = name,
                          .file = physical.file,
                          .line = physical.line,
                          .start_line = physical.start_line});
    return;
  }
  out->named = true;
  for (SourceLine& line : lines) out->lines.push_back(FromSourceLine(std::move(line), names));
}

}  // namespace

ElfSymbolizer::ElfSymbolizer(Sources sources, KernelSymbolizer* kernel, PerfMaps* perf_maps)
    : sources_(std::move(sources)), kernel_(kernel), perf_maps_(perf_maps) {}

ElfSymbolizer::ElfSymbolizer(FileRegistry* files, KernelSymbolizer* kernel, PerfMaps* perf_maps)
    : ElfSymbolizer(
          Sources{.find_file = [files](FileId id) { return files->Find(id); },
                  .read_lines =
                      [files](int fd, int alternate_fd, std::span<const uint64_t> addresses) {
                        return files->worker().Lines(fd, alternate_fd, addresses);
                      }},
          kernel, perf_maps) {}

std::vector<SymbolizedFrame> ElfSymbolizer::Symbolize(const ProcessKey& process,
                                                      std::span<const Frame> frames) {
  std::vector<SymbolizedFrame> out(frames.size());
  std::unordered_map<FileId, Positions> by_file;
  Positions anonymous;
  std::shared_ptr<const MappingInfo> synthetic;
  for (size_t i = 0; i < frames.size(); ++i) {
    switch (frames[i].kind()) {
      case FrameKind::kFile:
        by_file[frames[i].file()].push_back(i);
        break;
      case FrameKind::kAnonymous:
        anonymous.push_back(i);
        break;
      case FrameKind::kSynthetic:
        if (!synthetic) synthetic = MappingNamed("[hotpath]");
        out[i].mapping = synthetic;
        SetName(SyntheticFrameName(frames[i]), true, &out[i]);
        break;
      case FrameKind::kKernel:
        SymbolizeKernel(frames[i], &out[i]);
        break;
    }
  }
  for (const auto& [file, positions] : by_file) SymbolizeFile(file, frames, positions, &out);
  if (!anonymous.empty()) SymbolizeAnonymous(process, frames, anonymous, &out);
  return out;
}

void ElfSymbolizer::SymbolizeFile(FileId file, std::span<const Frame> frames,
                                  const Positions& positions, std::vector<SymbolizedFrame>* out) {
  const std::shared_ptr<const FileFacts> facts = sources_.find_file(file);
  if (facts == nullptr) {
    const auto mapping = MappingNamed(kUnknownMapping);
    for (const size_t i : positions) {
      (*out)[i].mapping = mapping;
      (*out)[i].address = frames[i].offset();
      SetUnnamed(kUnknownMapping, frames[i].offset(), &(*out)[i]);
    }
    return;
  }
  const std::string path = facts->path.empty() ? std::string(kUnknownMapping) : facts->path;
  const auto mapping =
      std::make_shared<const MappingInfo>(MappingInfo{.file = path,
                                                      .build_id = facts->build_id,
                                                      .table = facts->table_source,
                                                      .table_rows = facts->row_count});
  std::vector<uint64_t> addresses;  // Each once, in the order of the batch.
  std::unordered_map<uint64_t, size_t> index_of;
  for (const size_t i : positions) {
    const uint64_t address =
        facts->AddressOfOffset(frames[i].offset()).value_or(frames[i].offset());
    (*out)[i].mapping = mapping;
    (*out)[i].address = address;
    if (index_of.try_emplace(address, addresses.size()).second) addresses.push_back(address);
  }
  const Lines lines = ReadLines(*facts, addresses);
  DemangledNames names;
  for (const size_t i : positions) {
    SymbolizedFrame& frame = (*out)[i];
    const auto symbol = facts->symbols ? facts->symbols->Find(frame.address) : std::nullopt;
    SetFunction(symbol, lines[index_of.at(frame.address)], Basename(path), &names, &frame);
  }
}

bool ElfSymbolizer::MayAskForLines(const FileFacts& file) {
  if (!file.has_debug_info) return false;
  const std::lock_guard lock(mutex_);
  const auto failures = line_failures_.find(file.id);
  return failures == line_failures_.end() || sources_.now() >= failures->second.retry_at;
}

ElfSymbolizer::Lines ElfSymbolizer::ReadLines(const FileFacts& file,
                                              const std::vector<uint64_t>& addresses) {
  Lines all(addresses.size());
  if (addresses.empty() || !MayAskForLines(file)) return all;
  const int alternate_fd = file.alternate ? file.alternate->get() : -1;
  // The debug file first: a stripped binary has no lines, and one that was not needs no debug file.
  for (const auto& source : {file.debug, file.binary}) {
    if (!source || !source->valid()) continue;
    for (size_t done = 0; done < addresses.size();) {
      const size_t count = std::min(addresses.size() - done, kMaxAddressesPerRequest);
      auto lines = sources_.read_lines(source->get(), alternate_fd,
                                       std::span(addresses).subspan(done, count));
      if (!lines && lines.error().code == ErrorCode::kNotFound) break;  // No DWARF in this one.
      if (!lines || lines->size() != count) {
        const std::lock_guard lock(mutex_);
        ++failed_line_requests_;
        LineFailures& failures = line_failures_[file.id];
        failures.retry_at = sources_.now() + kRetryLinesAfter;
        ++failures.count;
        spdlog::warn("no source lines of {:?} for an hour: {}", file.path,
                     lines ? "the worker left out answers" : lines.error().message);
        return all;
      }
      std::move(lines->begin(), lines->end(), all.begin() + static_cast<std::ptrdiff_t>(done));
      done += count;
      if (done == addresses.size()) return all;
    }
  }
  return all;
}

std::shared_ptr<const MappingInfo> ElfSymbolizer::KernelMapping() {
  const std::lock_guard lock(mutex_);
  if (!kernel_mapping_) {
    kernel_mapping_ = std::make_shared<const MappingInfo>(
        MappingInfo{.file = "[kernel.kallsyms]", .build_id = kernel_->build_id()});
  }
  return kernel_mapping_;
}

void ElfSymbolizer::SymbolizeKernel(Frame frame, SymbolizedFrame* out) {
  out->mapping = KernelMapping();
  out->address = frame.address();
  const auto found = kernel_->Find(frame.address());
  if (!found) {
    SetUnnamed(out->mapping->file, frame.address(), out);
    return;
  }
  out->named = true;
  out->lines.push_back(
      {.function = Demangle(found->name).name, .system_function = found->name, .file = {}});
}

void ElfSymbolizer::SymbolizeAnonymous(const ProcessKey& process, std::span<const Frame> frames,
                                       const Positions& positions,
                                       std::vector<SymbolizedFrame>* out) {
  const std::shared_ptr<const PerfMap> map = perf_maps_->Get(process);
  const auto jit = MappingNamed("[jit]");
  Positions unnamed;
  std::vector<uint64_t> addresses;
  for (const size_t i : positions) {
    SymbolizedFrame& frame = (*out)[i];
    frame.address = frames[i].address();
    if (const auto entry = map ? map->Find(frame.address) : std::nullopt) {
      frame.mapping = jit;
      SetName(std::string(entry->name), true, &frame);
      continue;
    }
    unnamed.push_back(i);
    addresses.push_back(frame.address);
  }
  if (unnamed.empty()) return;
  const std::vector<std::string> kinds = perf_maps_->MappingKinds(process, addresses);
  std::unordered_map<std::string, std::shared_ptr<const MappingInfo>> mappings;
  for (size_t k = 0; k < unnamed.size(); ++k) {
    SymbolizedFrame& frame = (*out)[unnamed[k]];
    auto& mapping = mappings[kinds[k]];
    if (!mapping) mapping = MappingNamed(kinds[k]);
    frame.mapping = mapping;
    SetUnnamed("[anon]", frame.address, &frame);
  }
}

std::string ElfSymbolizer::FileKey(FileId file) const {
  const std::shared_ptr<const FileFacts> facts = sources_.find_file(file);
  if (facts == nullptr) return {};
  // Without a build ID only the facts themselves tell one file from the next with that number.
  const std::string identity = facts->build_id.empty()
                                   ? fmt::format("{}:{}", file.value, fmt::ptr(facts.get()))
                                   : facts->build_id;
  // An answer without lines is not for ever: a failure makes another key, so does the next try.
  uint64_t failures = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = line_failures_.find(file);
    if (found != line_failures_.end()) {
      failures = 2 * found->second.count + (sources_.now() >= found->second.retry_at ? 1 : 0);
    }
  }
  return fmt::format("{}\n{}\n{}{}\n{}\n{}\n{}", identity, facts->path, facts->symbols != nullptr,
                     facts->has_debug_info, facts->table_source, facts->row_count, failures);
}

uint64_t ElfSymbolizer::failed_line_requests() const {
  const std::lock_guard lock(mutex_);
  return failed_line_requests_;
}

}  // namespace hotpath
