// Frames become pprof's locations, functions and mappings, each once.
#include "exporters/pprof/location_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace hotpath::pprof {

namespace {

// A frame that is wanted but has no location yet.
constexpr uint32_t kWanted = FrameIndex::kNone - 1;

}  // namespace

void LocationTable::Want(const ProcessKey& process, Frame frame) {
  const bool anonymous = frame.kind() == FrameKind::kAnonymous;
  uint32_t& location = anonymous ? anonymous_[process][frame] : shared_[frame];
  if (location != FrameIndex::kNone) return;
  location = kWanted;
  if (frame.kind() == FrameKind::kSynthetic) {
    location = AddSynthetic(frame);
  } else if (anonymous) {
    wanted_anonymous_[process].push_back(frame);
  } else {
    wanted_shared_.push_back(frame);
  }
}

void LocationTable::Symbolize() {
  Symbolize({}, wanted_shared_, shared_);
  wanted_shared_.clear();
  for (const auto& [process, frames] : wanted_anonymous_) {
    Symbolize(process, frames, anonymous_[process]);
  }
  wanted_anonymous_.clear();
}

void LocationTable::Symbolize(const ProcessKey& process, std::span<const Frame> frames,
                              FrameIndex& index) {
  if (frames.empty()) return;
  const std::vector<SymbolizedFrame> named = symbolizer_.Symbolize(process, frames);
  for (size_t i = 0; i < frames.size(); ++i) {
    const bool of_file = frames[i].kind() == FrameKind::kFile;
    const FileId file = of_file ? frames[i].file() : FileId{};
    index[frames[i]] = AddLocation(named.at(i), file);
    if (of_file) files_.emplace(file, named[i].mapping);
  }
}

uint32_t LocationTable::Find(const ProcessKey& process, Frame frame) const {
  if (frame.kind() == FrameKind::kAnonymous) return anonymous_.at(process).Find(frame);
  return shared_.Find(frame);
}

void LocationTable::CountFailure(FileId file, uint64_t samples) {
  if (!files_.contains(file)) {
    // The walk ended in a file of which no frame was kept.
    const std::vector<Frame> start = {Frame::File(file, 0)};
    files_.emplace(file, symbolizer_.Symbolize({}, start).at(0).mapping);
  }
  failures_[file] += samples;
}

std::vector<LocationTable::FileCount> LocationTable::FileCounts() const {
  std::unordered_map<FileId, FileCount> by_id;
  for (size_t i = 0; i < frame_counts_.size(); ++i) {
    if (location_files_[i].value != 0) by_id[location_files_[i]].frames += frame_counts_[i];
  }
  for (const auto& [file, samples] : failures_) by_id[file].failed += samples;

  // Two ids may be one binary: copies in container images.
  std::map<std::pair<std::string, std::string>, FileCount> merged;
  for (const auto& [file, count] : by_id) {
    const std::shared_ptr<const MappingInfo>& mapping = files_.at(file);
    FileCount& sum = merged[{mapping->file, mapping->build_id}];
    if (sum.mapping == nullptr || sum.mapping->table == "none") sum.mapping = mapping;
    sum.frames += count.frames;
    sum.failed += count.failed;
  }
  std::vector<FileCount> sorted;
  sorted.reserve(merged.size());
  for (auto& [key, count] : merged) sorted.push_back(std::move(count));
  std::ranges::stable_sort(sorted, std::greater(), &FileCount::frames);
  return sorted;
}

int32_t LocationTable::MappingOf(const MappingInfo& info) {
  std::string key = fmt::format("{}\n{}", info.file, info.build_id);
  const auto next = static_cast<int32_t>(profile_.mappings.size());
  const auto [it, added] = mappings_.try_emplace(std::move(key), next);
  if (added) {
    // Addresses are the ELF's: start, limit and offset stay 0. Whoever reads must not look for
    // symbols again, whether or not there were any.
    profile_.mappings.push_back(
        {.file = info.file, .build_id = info.build_id, .has_functions = true});
  }
  return it->second;
}

uint32_t LocationTable::AddLocation(const SymbolizedFrame& frame, FileId file) {
  const int32_t index = MappingOf(*frame.mapping);
  Mapping& mapping = profile_.mappings[static_cast<size_t>(index)];
  Location location{.mapping = index, .address = frame.address, .lines = {}};
  location.lines.reserve(frame.lines.size());
  for (const SourceFrame& source : frame.lines) {
    location.lines.push_back({.function = FunctionOf(source), .line = source.line});
    mapping.has_filenames |= !source.file.empty();
    mapping.has_line_numbers |= source.line != 0;
  }
  mapping.has_inline_frames |= frame.lines.size() > 1;
  profile_.locations.push_back(std::move(location));
  frame_counts_.push_back(0);
  location_files_.push_back(file);
  return static_cast<uint32_t>(profile_.locations.size() - 1);
}

uint32_t LocationTable::AddSynthetic(Frame frame) {
  std::string name = SyntheticFrameName(frame);
  const Line line{.function = FunctionOf({.function = name, .system_function = name, .file = {}})};
  const int32_t mapping = MappingOf({.file = "[hotpath]", .build_id = {}});
  profile_.locations.push_back({.mapping = mapping, .address = 0, .lines = {line}});
  frame_counts_.push_back(0);
  location_files_.emplace_back();
  return static_cast<uint32_t>(profile_.locations.size() - 1);
}

uint32_t LocationTable::FunctionOf(const SourceFrame& source) {
  std::string key = fmt::format("{}\n{}\n{}\n{}", source.function, source.system_function,
                                source.file, source.start_line);
  const auto next = static_cast<uint32_t>(profile_.functions.size());
  const auto [it, added] = functions_.try_emplace(std::move(key), next);
  if (added) {
    profile_.functions.push_back({.name = source.function,
                                  .system_name = source.system_function,
                                  .file = source.file,
                                  .start_line = source.start_line});
  }
  return it->second;
}

}  // namespace hotpath::pprof
