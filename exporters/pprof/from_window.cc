// A window of raw frames becomes a pprof profile.
#include "exporters/pprof/from_window.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "exporters/pprof/location_table.h"

namespace hotpath::pprof {
namespace {

constexpr size_t kMaxFileComments = 200;

// No white space and nothing that breaks a line: comments are split at spaces.
std::string Word(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 0x7f; }, '_');
  return text;
}

std::string_view Basename(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

// Builds one profile from one window.
class WindowReader {
 public:
  WindowReader(const Window& window, Symbolizer& symbolizer, const ProfileContext& context,
               const std::vector<LabelMatch>& matches)
      : window_(window), context_(context), matches_(matches), locations_(symbolizer, profile_) {}

  Profile Run() {
    ReadHeader();
    ReadOwners();
    profile_.mappings.push_back(FirstMapping());
    SymbolizeFrames();
    ReadRows();
    ReadLosses();
    MoveMainBinaryFirst();
    WriteComments();
    return std::move(profile_);
  }

 private:
  void ReadHeader() {
    for (const hotpath::ValueType& type : window_.type.sample_types) {
      profile_.sample_types.push_back({type.type, type.unit});
    }
    profile_.default_sample_type = window_.type.default_sample_type;
    if (profile_.default_sample_type.empty() && !profile_.sample_types.empty()) {
      profile_.default_sample_type = profile_.sample_types.back().type;
    }
    profile_.period_type = {window_.type.period_type.type, window_.type.period_type.unit};
    profile_.period = window_.type.period;
    profile_.time_ns = window_.start_unix_ns;
    profile_.duration_ns = window_.duration_ns;
  }

  // The labels of every owner, and which rows are wanted.
  void ReadOwners() {
    owner_labels_.reserve(window_.owners.size());
    for (const SampleOwner& owner : window_.owners) {
      const auto facts = window_.processes.find(owner.process);
      owner_labels_.push_back(
          OwnerLabels(owner, facts == window_.processes.end() ? nullptr : &facts->second));
    }
    rows_.reserve(window_.rows.size());
    for (const WindowRow& row : window_.rows) {
      if (matches_.empty() || Matches(RowLabels(row), matches_)) rows_.push_back(&row);
    }
  }

  std::vector<Label> RowLabels(const WindowRow& row) const {
    const std::vector<Label>& owner = owner_labels_.at(row.owner);
    std::vector<Label> labels;
    labels.reserve(owner.size() + 1);
    labels = owner;
    if (!WalkEndReason(row.walk_end).empty()) labels.push_back(StackLabel(row.walk_end));
    return labels;
  }

  // Stands first so that pprof's "File:" line misleads nobody; replaced when there is one process.
  // In brackets because pprof takes a bare "host:NAME" for a URL and drops it.
  Mapping FirstMapping() const {
    return {.file = fmt::format("[host:{}]", context_.host), .build_id = {}, .has_functions = true};
  }

  // A stack's frames are wanted once, except for anonymous code: that differs by process.
  void SymbolizeFrames() {
    std::vector<bool> seen(window_.stacks.size());
    std::vector<bool> anonymous(window_.stacks.size());
    for (const WindowRow* row : rows_) {
      const uint32_t stack = row->stack.value;
      if (seen[stack] && !anonymous[stack]) continue;
      seen[stack] = true;
      const ProcessKey& process = window_.owners.at(row->owner).process;
      for (const Frame frame : window_.stacks.Frames(row->stack)) {
        if (frame.kind() == FrameKind::kAnonymous) anonymous[stack] = true;
        locations_.Want(process, frame);
      }
    }
    locations_.Symbolize();
  }

  void ReadRows() {
    profile_.samples.reserve(rows_.size());
    for (const WindowRow* row : rows_) {
      const ProcessKey& process = window_.owners.at(row->owner).process;
      const uint64_t samples = row->samples;
      Sample sample{.locations = {}, .values = row->values, .labels = RowLabels(*row)};
      sample.values.resize(profile_.sample_types.size());
      const std::span<const Frame> frames = window_.stacks.Frames(row->stack);
      sample.locations.reserve(frames.size());
      for (const Frame frame : frames) {
        const uint32_t location = locations_.Find(process, frame);
        sample.locations.push_back(location);
        locations_.CountFrame(location, samples);
      }
      samples_ += samples;
      if (row->walk_end == WalkEnd::kComplete || row->walk_end == WalkEnd::kNoUser) {
        complete_ += samples;
      } else if (row->failed_file.value != 0) {
        locations_.CountFailure(row->failed_file, samples);
      }
      profile_.samples.push_back(std::move(sample));
    }
  }

  void ReadLosses() {
    for (size_t i = 0; i < kLosses; ++i) {
      const SampleSum& lost = window_.lost.at(i);
      if (lost == SampleSum()) continue;
      // What the kernel side lost is the whole host's; the memory limit is the capture's own loss.
      const bool of_host = static_cast<Loss>(i) != Loss::kMemoryLimit;
      if (of_host && (window_.filtered || !matches_.empty())) continue;
      const Frame frame = LostFrame(static_cast<Loss>(i));
      locations_.Want({}, frame);
      Sample sample{.locations = {locations_.Find({}, frame)}, .values = {}, .labels = {}};
      for (const Measure measure : window_.type.measures) {
        sample.values.push_back(lost.Of(measure));
      }
      profile_.samples.push_back(std::move(sample));
    }
  }

  // The executable of the only process of the window; nullopt when there are several.
  std::optional<std::string> OnlyExecutable() const {
    if (!window_.filtered && matches_.empty()) return std::nullopt;
    std::optional<ProcessKey> only;
    for (const WindowRow* row : rows_) {
      const ProcessKey& process = window_.owners.at(row->owner).process;
      if (only && *only != process) return std::nullopt;
      only = process;
    }
    if (!only) return std::nullopt;
    const auto facts = window_.processes.find(*only);
    if (facts == window_.processes.end() || facts->second.exe.empty()) return std::nullopt;
    return facts->second.exe;
  }

  // Puts the mapping of the only process's binary into mapping 0's place.
  void MoveMainBinaryFirst() {
    const std::optional<std::string> exe = OnlyExecutable();
    if (!exe) return;
    std::vector<Mapping>& mappings = profile_.mappings;
    const auto find = [&](auto same) {
      return std::find_if(mappings.begin() + 1, mappings.end(), same);
    };
    auto main = find([&](const Mapping& mapping) { return mapping.file == *exe; });
    if (main == mappings.end()) {
      // A container's path: the host knows the file by another.
      main = find([&](const Mapping& mapping) {
        return mapping.file.starts_with('/') && Basename(mapping.file) == Basename(*exe);
      });
    }
    if (main == mappings.end()) {
      mappings.front().file = *exe;
      return;
    }
    const auto old = static_cast<int32_t>(main - mappings.begin());
    mappings.front() = std::move(*main);
    mappings.erase(main);
    for (Location& location : profile_.locations) {
      if (location.mapping == old) {
        location.mapping = 0;
      } else if (location.mapping > old) {
        --location.mapping;
      }
    }
  }

  void WriteComments() {
    uint64_t lost = 0;
    for (const SampleSum& count : window_.lost) lost += count.samples;
    const double complete =
        samples_ == 0 ? 1 : static_cast<double>(complete_) / static_cast<double>(samples_);
    profile_.comments.push_back(fmt::format(
        "host={} kernel={} hz={} lost={} complete={:.4f} hotpathd={}", Word(context_.host),
        Word(context_.kernel), window_.hz, lost, complete, Word(context_.version)));
    if (window_.cpu_seconds_kernel >= 0) {
      profile_.comments.push_back(
          fmt::format("cpu_seconds_kernel={:.6f}", window_.cpu_seconds_kernel));
    }
    if (window_.type.estimated) {
      profile_.comments.push_back(fmt::format("samples={}", samples_));
    }
    for (const std::string& comment : window_.comments) profile_.comments.push_back(comment);
    if (!window_.type.comment.empty()) profile_.comments.push_back(window_.type.comment);
    size_t written = 0;
    for (const LocationTable::FileCount& file : locations_.FileCounts()) {
      if (written++ == kMaxFileComments) break;
      profile_.comments.push_back(
          fmt::format("#file={} build_id={} table={} rows={} frames={} failed={}",
                      Word(std::string(Basename(file.mapping->file))), file.mapping->build_id,
                      file.mapping->table, file.mapping->table_rows, file.frames, file.failed));
    }
  }

  const Window& window_;
  const ProfileContext& context_;
  const std::vector<LabelMatch>& matches_;
  Profile profile_;
  LocationTable locations_;
  std::vector<std::vector<Label>> owner_labels_;  // One for each of Window::owners.
  std::vector<const WindowRow*> rows_;            // Those that are wanted.
  uint64_t samples_ = 0, complete_ = 0;
};

}  // namespace

Profile FromWindow(const Window& window, Symbolizer& symbolizer, const ProfileContext& context,
                   const std::vector<LabelMatch>& matches) {
  return WindowReader(window, symbolizer, context, matches).Run();
}

}  // namespace hotpath::pprof
