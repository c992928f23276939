// pprof's own data model in memory: what is encoded, decoded, filtered and reported on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"

namespace hotpath::pprof {

// Mirrors profile.proto (google/pprof), with indices instead of ids: location `i` has id i + 1 on
// the wire. Strings are held in place; the encoder builds the string table.
struct ValueType {
  std::string type;
  std::string unit;
  friend bool operator==(const ValueType&, const ValueType&) = default;
};
struct Mapping {
  uint64_t start = 0, limit = 0, offset = 0;  // 0, 0, 0 in what we write: addresses are the ELF's.
  std::string file;
  std::string build_id;
  bool has_functions = false, has_filenames = false, has_line_numbers = false,
       has_inline_frames = false;
};
struct Function {
  std::string name;
  std::string system_name;
  std::string file;
  int64_t start_line = 0;
};
struct Line {
  uint32_t function = 0;  // Index into Profile::functions.
  int64_t line = 0;
};
struct Location {
  int32_t mapping = -1;  // Index into Profile::mappings; -1: none.
  uint64_t address = 0;
  std::vector<Line> lines;  // Innermost inlined function first.
};
struct Label {
  std::string key;
  std::string str;  // Either str or num (when str is empty).
  int64_t num = 0;
  std::string num_unit;
};
struct Sample {
  std::vector<uint32_t> locations;  // Indices into Profile::locations, leaf first.
  std::vector<int64_t> values;      // One for each sample type.
  std::vector<Label> labels;
};
struct Profile {
  std::vector<ValueType> sample_types;
  std::string default_sample_type;
  ValueType period_type;
  int64_t period = 0;
  int64_t time_ns = 0;  // Unix time.
  int64_t duration_ns = 0;
  std::vector<std::string> comments;
  std::string drop_frames, keep_frames;
  std::vector<Mapping> mappings;
  std::vector<Function> functions;
  std::vector<Location> locations;
  std::vector<Sample> samples;
};

// Uncompressed protobuf, then gzip. Never fails: the model is checked by construction (asserted).
std::string Encode(const Profile& profile);
std::string EncodeGzip(const Profile& profile);

// Reads gzip or raw protobuf; checks all that pprof's CheckValid checks. Bytes are hostile: every
// index is verified, memory is bounded by `max_bytes` of uncompressed input.
// Errors: kMalformed naming the field; kTooLarge.
Result<Profile> Decode(std::string_view bytes, size_t max_bytes = size_t{1} << 30);

}  // namespace hotpath::pprof
