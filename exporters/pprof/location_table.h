// Frames become pprof's locations, functions and mappings, each once.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/symbolize/symbolizer.h"
#include "exporters/pprof/frame_index.h"
#include "exporters/pprof/profile.h"

namespace hotpath::pprof {

// Builds the tables of one profile. One thread; the profile outlives it.
//
// A frame of a file or of the kernel is one location whichever process it is of, so a window
// is symbolized once however many processes share a library; only anonymous code is per process.
class LocationTable {
 public:
  // What happened in one file, for the profile's comments.
  struct FileCount {
    std::shared_ptr<const MappingInfo> mapping;  // Never null.
    uint64_t frames = 0;                         // Frames times samples.
    uint64_t failed = 0;                         // Samples whose walk ended in this file's code.
  };

  LocationTable(Symbolizer& symbolizer, Profile& profile)
      : symbolizer_(symbolizer), profile_(profile) {}

  // Notes `frame` for the next Symbolize(). Anonymous ones are `process`'s.
  void Want(const ProcessKey& process, Frame frame);
  // Names what is wanted: all that is shared in one call, anonymous code in one a process.
  void Symbolize();

  // Index into Profile::locations. The frame must have been wanted and symbolized.
  uint32_t Find(const ProcessKey& process, Frame frame) const;

  // Counts `samples` that passed through a location, or whose walk ended in `file`.
  void CountFrame(uint32_t location, uint64_t samples) { frame_counts_[location] += samples; }
  void CountFailure(FileId file, uint64_t samples);
  // One entry a mapping, most frames first.
  std::vector<FileCount> FileCounts() const;

  // Index of the mapping of `file`, made when there is none.
  int32_t MappingOf(const MappingInfo& info);

 private:
  void Symbolize(const ProcessKey& process, std::span<const Frame> frames, FrameIndex& index);
  uint32_t AddLocation(const SymbolizedFrame& frame, FileId file);
  uint32_t AddSynthetic(Frame frame);
  uint32_t FunctionOf(const SourceFrame& source);

  Symbolizer& symbolizer_;
  Profile& profile_;
  FrameIndex shared_;  // Frame -> location; kNone while it is only wanted.
  std::map<ProcessKey, FrameIndex> anonymous_;
  std::vector<Frame> wanted_shared_;
  std::map<ProcessKey, std::vector<Frame>> wanted_anonymous_;
  std::unordered_map<std::string, uint32_t> functions_;
  std::unordered_map<std::string, int32_t> mappings_;
  std::unordered_map<FileId, std::shared_ptr<const MappingInfo>> files_;
  std::vector<uint64_t> frame_counts_;  // One for each location, and so is the next.
  std::vector<FileId> location_files_;  // 0: of no file.
  std::unordered_map<FileId, uint64_t> failures_;
};

}  // namespace hotpath::pprof
