// Writes the model as pprof's protobuf and compresses it.
#include <libdeflate.h>

#include <cassert>
#include <cstdlib>
#include <memory>
#include <protozero/pbf_builder.hpp>
#include <unordered_map>

#include "daemon/base/utf8.h"
#include "exporters/pprof/profile.h"
#include "exporters/pprof/wire.h"

namespace hotpath::pprof {
namespace {

// The cheapest: the bytes cross a socket once, the CPU is the profiled host's.
constexpr int kCompressionLevel = 1;

// Every distinct string once, in the order of first use; number 0 is "".
class StringTable {
 public:
  StringTable() { strings_.emplace_back(); }

  // `text` must outlive the table.
  int64_t Intern(std::string_view text) {
    if (text.empty()) return 0;
    const auto [it, added] = numbers_.try_emplace(text, static_cast<int64_t>(strings_.size()));
    if (added) strings_.push_back(text);
    return it->second;
  }
  const std::vector<std::string_view>& strings() const { return strings_; }

 private:
  std::vector<std::string_view> strings_;
  std::unordered_map<std::string_view, int64_t> numbers_;
};

// Leaves out what is zero, as proto3 does.
template <typename Field>
class MessageWriter {
 public:
  MessageWriter(std::string& out, StringTable& strings) : builder_(out), strings_(strings) {}
  template <typename Parent>
  MessageWriter(MessageWriter<Parent>& parent, Parent field)
      : builder_(parent.builder(), field), strings_(parent.strings()) {}

  void String(Field field, std::string_view text) { Int(field, strings_.Intern(text)); }
  void Int(Field field, int64_t value) {
    if (value != 0) builder_.add_int64(field, value);
  }
  void Uint(Field field, uint64_t value) {
    if (value != 0) builder_.add_uint64(field, value);
  }
  void Bool(Field field, bool value) {
    if (value) builder_.add_bool(field, true);
  }
  // An entry of a list counts although nothing is in it, and protozero drops a MessageWriter that
  // wrote nothing.
  void Empty(Field field) { builder_.add_message(field, std::string()); }
  protozero::pbf_builder<Field>& builder() { return builder_; }
  StringTable& strings() { return strings_; }

 private:
  protozero::pbf_builder<Field> builder_;
  StringTable& strings_;
};
using ProfileWriter = MessageWriter<ProfileField>;

void Write(ProfileWriter& out, ProfileField field, const ValueType& type) {
  if (type == ValueType{}) return out.Empty(field);
  MessageWriter<ValueTypeField> message(out, field);
  message.String(ValueTypeField::kType, type.type);
  message.String(ValueTypeField::kUnit, type.unit);
}

// `ids` is scratch space.
void Write(ProfileWriter& out, const Sample& sample, std::vector<uint64_t>& ids) {
  MessageWriter<SampleField> message(out, ProfileField::kSample);
  ids.assign(sample.locations.begin(), sample.locations.end());
  for (uint64_t& id : ids) ++id;
  message.builder().add_packed_uint64(SampleField::kLocationId, ids.begin(), ids.end());
  message.builder().add_packed_int64(SampleField::kValue, sample.values.begin(),
                                     sample.values.end());
  for (const Label& label : sample.labels) {
    if (label.key.empty() && label.str.empty() && label.num == 0 && label.num_unit.empty()) {
      message.Empty(SampleField::kLabel);
      continue;
    }
    MessageWriter<LabelField> pair(message, SampleField::kLabel);
    pair.String(LabelField::kKey, label.key);
    pair.String(LabelField::kStr, label.str);
    if (!label.str.empty()) continue;
    pair.Int(LabelField::kNum, label.num);
    pair.String(LabelField::kNumUnit, label.num_unit);
  }
}

void Write(ProfileWriter& out, uint64_t id, const Mapping& mapping) {
  MessageWriter<MappingField> message(out, ProfileField::kMapping);
  message.Uint(MappingField::kId, id);
  message.Uint(MappingField::kMemoryStart, mapping.start);
  message.Uint(MappingField::kMemoryLimit, mapping.limit);
  message.Uint(MappingField::kFileOffset, mapping.offset);
  message.String(MappingField::kFilename, mapping.file);
  message.String(MappingField::kBuildId, mapping.build_id);
  message.Bool(MappingField::kHasFunctions, mapping.has_functions);
  message.Bool(MappingField::kHasFilenames, mapping.has_filenames);
  message.Bool(MappingField::kHasLineNumbers, mapping.has_line_numbers);
  message.Bool(MappingField::kHasInlineFrames, mapping.has_inline_frames);
}

void Write(ProfileWriter& out, uint64_t id, const Location& location) {
  MessageWriter<LocationField> message(out, ProfileField::kLocation);
  message.Uint(LocationField::kId, id);
  message.Uint(LocationField::kMappingId, static_cast<uint64_t>(int64_t{location.mapping} + 1));
  message.Uint(LocationField::kAddress, location.address);
  for (const Line& line : location.lines) {
    MessageWriter<LineField> entry(message, LocationField::kLine);
    entry.Uint(LineField::kFunctionId, uint64_t{line.function} + 1);
    entry.Int(LineField::kLine, line.line);
  }
}

void Write(ProfileWriter& out, uint64_t id, const Function& function) {
  MessageWriter<FunctionField> message(out, ProfileField::kFunction);
  message.Uint(FunctionField::kId, id);
  message.String(FunctionField::kName, function.name);
  message.String(FunctionField::kSystemName, function.system_name);
  message.String(FunctionField::kFilename, function.file);
  message.Int(FunctionField::kStartLine, function.start_line);
}

// What CheckValid would refuse is a bug of whoever built the model.
[[maybe_unused]] bool IsValid(const Profile& profile) {
  for (const Sample& sample : profile.samples) {
    if (sample.values.size() != profile.sample_types.size()) return false;
    for (const uint32_t index : sample.locations) {
      if (index >= profile.locations.size()) return false;
    }
  }
  for (const Location& location : profile.locations) {
    if (location.mapping < -1) return false;
    if (location.mapping >= 0 && static_cast<size_t>(location.mapping) >= profile.mappings.size()) {
      return false;
    }
    for (const Line& line : location.lines) {
      if (line.function >= profile.functions.size()) return false;
    }
  }
  return profile.samples.empty() || !profile.sample_types.empty();
}

}  // namespace

std::string Encode(const Profile& profile) {
  assert(IsValid(profile));
  std::string bytes;
  StringTable strings;
  ProfileWriter out(bytes, strings);
  for (const ValueType& type : profile.sample_types) Write(out, ProfileField::kSampleType, type);
  std::vector<uint64_t> ids;
  for (const Sample& sample : profile.samples) Write(out, sample, ids);
  uint64_t id = 0;
  for (const Mapping& mapping : profile.mappings) Write(out, ++id, mapping);
  id = 0;
  for (const Location& location : profile.locations) Write(out, ++id, location);
  id = 0;
  for (const Function& function : profile.functions) Write(out, ++id, function);
  out.String(ProfileField::kDropFrames, profile.drop_frames);
  out.String(ProfileField::kKeepFrames, profile.keep_frames);
  out.Int(ProfileField::kTimeNanos, profile.time_ns);
  out.Int(ProfileField::kDurationNanos, profile.duration_ns);
  if (profile.period_type != ValueType{}) {
    Write(out, ProfileField::kPeriodType, profile.period_type);
  }
  out.Int(ProfileField::kPeriod, profile.period);
  for (const std::string& comment : profile.comments) {
    // Not left out when empty: number 0 is a comment too.
    out.builder().add_int64(ProfileField::kComment, strings.Intern(comment));
  }
  out.String(ProfileField::kDefaultSampleType, profile.default_sample_type);
  // Last, because it is complete only now; readers take fields in any order.
  for (const std::string_view text : strings.strings()) {
    if (IsUtf8(text)) {
      out.builder().add_string(ProfileField::kStringTable, text.data(), text.size());
    } else {
      out.builder().add_string(ProfileField::kStringTable, ToUtf8(text));
    }
  }
  return bytes;
}

std::string EncodeGzip(const Profile& profile) {
  const std::string bytes = Encode(profile);
  const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> compressor(
      libdeflate_alloc_compressor(kCompressionLevel), &libdeflate_free_compressor);
  if (compressor == nullptr) std::abort();  // Out of memory.
  std::string compressed(libdeflate_gzip_compress_bound(compressor.get(), bytes.size()), '\0');
  compressed.resize(libdeflate_gzip_compress(compressor.get(), bytes.data(), bytes.size(),
                                             compressed.data(), compressed.size()));
  return compressed;
}

}  // namespace hotpath::pprof
