// Reads pprof's protobuf, believing nothing of it.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <protozero/pbf_message.hpp>

#include "exporters/pprof/gunzip.h"
#include "exporters/pprof/profile.h"
#include "exporters/pprof/wire.h"

namespace hotpath::pprof {
namespace {

using protozero::pbf_message;
using protozero::pbf_wire_type;

// A short label can name a long string, so a small file could ask for any amount of memory.
constexpr size_t kMemoryPerInputByte = 4;

// Thrown within this file only, beside protozero's own exceptions.
struct DecodeError {
  ErrorCode code;
  std::string message;
};

[[noreturn]] void Malformed(std::string message) {
  throw DecodeError{ErrorCode::kMalformed, std::move(message)};
}

// From ids as written (any non-zero numbers) to indices. Sorted rather than hashed: whoever chose
// the ids could have chosen ones that collide.
class IdTable {
 public:
  explicit IdTable(const char* noun) : noun_(noun) {}

  void Add(uint64_t id) {
    if (id == 0) Malformed(fmt::format("{}.id: 0", noun_));
    const auto index = static_cast<uint32_t>(ids_.size());
    dense_ = dense_ && id == uint64_t{index} + 1;
    ids_.emplace_back(id, index);
  }
  // After the last Add().
  void Finish() {
    std::ranges::sort(ids_);
    const auto same = std::ranges::adjacent_find(ids_, {}, &std::pair<uint64_t, uint32_t>::first);
    if (same != ids_.end()) Malformed(fmt::format("{}.id: {} twice", noun_, same->first));
  }
  // -1: there is none.
  int64_t Find(uint64_t id) const {
    if (dense_) return id >= 1 && id <= ids_.size() ? static_cast<int64_t>(id) - 1 : -1;
    const auto it = std::ranges::lower_bound(ids_, id, {}, &std::pair<uint64_t, uint32_t>::first);
    return it == ids_.end() || it->first != id ? -1 : int64_t{it->second};
  }

 private:
  const char* const noun_;
  bool dense_ = true;  // The ids are 1, 2, 3, ... as most writers number them.
  std::vector<std::pair<uint64_t, uint32_t>> ids_;  // Id and index; sorted once finished.
};

// One pass collects the tables that others refer to, the second builds the model.
class Decoder {
 public:
  Decoder(std::string_view bytes, size_t max_memory_bytes)
      : bytes_(bytes), memory_left_(max_memory_bytes) {}

  Profile Run() {
    ReadStrings();
    ForEach(ProfileField::kMapping, [&](auto message) { ReadMapping(message); });
    mapping_ids_.Finish();
    ForEach(ProfileField::kFunction, [&](auto message) { ReadFunction(message); });
    function_ids_.Finish();
    ForEach(ProfileField::kLocation, [&](auto message) { ReadLocation(message); });
    location_ids_.Finish();
    ReadHeader();
    ForEach(ProfileField::kSample, [&](auto message) { ReadSample(message); });
    if (!profile_.samples.empty() && profile_.sample_types.empty()) {
      Malformed("profile.sample_type: none, but there are samples");
    }
    return std::move(profile_);
  }

 private:
  template <typename Read>
  void ForEach(ProfileField field, Read read) {
    pbf_message<ProfileField> message(bytes_.data(), bytes_.size());
    while (message.next(field, pbf_wire_type::length_delimited)) read(message.get_view());
  }

  void Take(size_t bytes) {
    if (bytes > memory_left_) {
      throw DecodeError{ErrorCode::kTooLarge, "profile: needs too much memory"};
    }
    memory_left_ -= bytes;
  }

  void ReadStrings() {
    ForEach(ProfileField::kStringTable, [&](protozero::data_view text) {
      Take(sizeof(std::string_view));
      strings_.emplace_back(text.data(), text.size());
    });
    if (!strings_.empty() && !strings_.front().empty()) {
      Malformed("profile.string_table[0]: not empty");
    }
  }

  std::string String(int64_t index, const char* field) {
    if (index == 0 && strings_.empty()) return {};
    if (index < 0 || static_cast<uint64_t>(index) >= strings_.size()) {
      Malformed(fmt::format("{}: string {} of {}", field, index, strings_.size()));
    }
    const std::string_view text = strings_[static_cast<size_t>(index)];
    Take(text.size());
    return std::string(text);
  }

  // A varint of the current field; refuses other wire types.
  template <typename Message>
  static int64_t Varint(Message& message, const char* field) {
    if (message.wire_type() != pbf_wire_type::varint) {
      Malformed(fmt::format("{}: wire type {}", field, static_cast<int>(message.wire_type())));
    }
    return message.get_int64();
  }

  // Appends a repeated integer field, packed or not.
  template <typename Message, typename Append>
  static void Varints(Message& message, const char* field, Append append) {
    if (message.wire_type() == pbf_wire_type::length_delimited) {
      for (const int64_t value : message.get_packed_int64()) append(value);
    } else {
      append(Varint(message, field));
    }
  }

  template <typename Message>
  static protozero::data_view Bytes(Message& message, const char* field) {
    if (message.wire_type() != pbf_wire_type::length_delimited) {
      Malformed(fmt::format("{}: wire type {}", field, static_cast<int>(message.wire_type())));
    }
    return message.get_view();
  }

  void ReadMapping(protozero::data_view bytes) {
    Take(sizeof(Mapping));
    Mapping mapping;
    uint64_t id = 0;
    pbf_message<MappingField> message(bytes);
    while (message.next()) {
      const auto number = [&] { return Varint(message, "mapping"); };
      switch (message.tag()) {
        case MappingField::kId:
          id = static_cast<uint64_t>(number());
          break;
        case MappingField::kMemoryStart:
          mapping.start = static_cast<uint64_t>(number());
          break;
        case MappingField::kMemoryLimit:
          mapping.limit = static_cast<uint64_t>(number());
          break;
        case MappingField::kFileOffset:
          mapping.offset = static_cast<uint64_t>(number());
          break;
        case MappingField::kFilename:
          mapping.file = String(number(), "mapping.filename");
          break;
        case MappingField::kBuildId:
          mapping.build_id = String(number(), "mapping.build_id");
          break;
        case MappingField::kHasFunctions:
          mapping.has_functions = number() != 0;
          break;
        case MappingField::kHasFilenames:
          mapping.has_filenames = number() != 0;
          break;
        case MappingField::kHasLineNumbers:
          mapping.has_line_numbers = number() != 0;
          break;
        case MappingField::kHasInlineFrames:
          mapping.has_inline_frames = number() != 0;
          break;
        default:
          message.skip();
      }
    }
    mapping_ids_.Add(id);
    profile_.mappings.push_back(std::move(mapping));
  }

  void ReadFunction(protozero::data_view bytes) {
    Take(sizeof(Function));
    Function function;
    uint64_t id = 0;
    pbf_message<FunctionField> message(bytes);
    while (message.next()) {
      const auto number = [&] { return Varint(message, "function"); };
      switch (message.tag()) {
        case FunctionField::kId:
          id = static_cast<uint64_t>(number());
          break;
        case FunctionField::kName:
          function.name = String(number(), "function.name");
          break;
        case FunctionField::kSystemName:
          function.system_name = String(number(), "function.system_name");
          break;
        case FunctionField::kFilename:
          function.file = String(number(), "function.filename");
          break;
        case FunctionField::kStartLine:
          function.start_line = number();
          break;
        default:
          message.skip();
      }
    }
    function_ids_.Add(id);
    profile_.functions.push_back(std::move(function));
  }

  void ReadLocation(protozero::data_view bytes) {
    Take(sizeof(Location));
    Location location;
    uint64_t id = 0;
    pbf_message<LocationField> message(bytes);
    while (message.next()) {
      const auto number = [&] { return Varint(message, "location"); };
      switch (message.tag()) {
        case LocationField::kId:
          id = static_cast<uint64_t>(number());
          break;
        case LocationField::kMappingId:
          // As pprof does, one that names no mapping counts as none.
          location.mapping =
              static_cast<int32_t>(mapping_ids_.Find(static_cast<uint64_t>(number())));
          break;
        case LocationField::kAddress:
          location.address = static_cast<uint64_t>(number());
          break;
        case LocationField::kLine:
          location.lines.push_back(ReadLine(Bytes(message, "location.line")));
          break;
        default:
          message.skip();
      }
    }
    location_ids_.Add(id);
    profile_.locations.push_back(std::move(location));
  }

  Line ReadLine(protozero::data_view bytes) {
    Take(sizeof(Line));
    uint64_t function_id = 0;
    Line line;
    pbf_message<LineField> message(bytes);
    while (message.next()) {
      switch (message.tag()) {
        case LineField::kFunctionId:
          function_id = static_cast<uint64_t>(Varint(message, "line.function_id"));
          break;
        case LineField::kLine:
          line.line = Varint(message, "line.line");
          break;
        default:
          message.skip();
      }
    }
    const int64_t index = function_ids_.Find(function_id);
    if (index < 0) Malformed(fmt::format("line.function_id: no function {}", function_id));
    line.function = static_cast<uint32_t>(index);
    return line;
  }

  ValueType ReadValueType(protozero::data_view bytes) {
    Take(sizeof(ValueType));
    ValueType type;
    pbf_message<ValueTypeField> message(bytes);
    while (message.next()) {
      switch (message.tag()) {
        case ValueTypeField::kType:
          type.type = String(Varint(message, "value_type.type"), "value_type.type");
          break;
        case ValueTypeField::kUnit:
          type.unit = String(Varint(message, "value_type.unit"), "value_type.unit");
          break;
        default:
          message.skip();
      }
    }
    return type;
  }

  void ReadHeader() {
    pbf_message<ProfileField> message(bytes_.data(), bytes_.size());
    while (message.next()) {
      const auto number = [&] { return Varint(message, "profile"); };
      switch (message.tag()) {
        case ProfileField::kSampleType:
          profile_.sample_types.push_back(ReadValueType(Bytes(message, "profile.sample_type")));
          break;
        case ProfileField::kPeriodType:
          profile_.period_type = ReadValueType(Bytes(message, "profile.period_type"));
          break;
        case ProfileField::kDropFrames:
          profile_.drop_frames = String(number(), "profile.drop_frames");
          break;
        case ProfileField::kKeepFrames:
          profile_.keep_frames = String(number(), "profile.keep_frames");
          break;
        case ProfileField::kTimeNanos:
          profile_.time_ns = number();
          break;
        case ProfileField::kDurationNanos:
          profile_.duration_ns = number();
          break;
        case ProfileField::kPeriod:
          profile_.period = number();
          break;
        case ProfileField::kDefaultSampleType:
          profile_.default_sample_type = String(number(), "profile.default_sample_type");
          break;
        case ProfileField::kComment:
          Varints(message, "profile.comment", [&](int64_t index) {
            Take(sizeof(std::string));
            profile_.comments.push_back(String(index, "profile.comment"));
          });
          break;
        case ProfileField::kSample:
        case ProfileField::kMapping:
        case ProfileField::kLocation:
        case ProfileField::kFunction:
        case ProfileField::kStringTable:
          // The passes before took them; one of another wire type they could not.
          Bytes(message, "profile.sample, mapping, location, function or string_table");
          break;
        default:
          message.skip();
      }
    }
  }

  void ReadSample(protozero::data_view bytes) {
    Take(sizeof(Sample));
    Sample sample;
    pbf_message<SampleField> message(bytes);
    while (message.next()) {
      switch (message.tag()) {
        case SampleField::kLocationId:
          Varints(message, "sample.location_id", [&](int64_t id) {
            Take(sizeof(uint32_t));
            const int64_t index = location_ids_.Find(static_cast<uint64_t>(id));
            if (index < 0) {
              Malformed(
                  fmt::format("sample.location_id: no location {}", static_cast<uint64_t>(id)));
            }
            sample.locations.push_back(static_cast<uint32_t>(index));
          });
          break;
        case SampleField::kValue:
          Varints(message, "sample.value", [&](int64_t value) {
            Take(sizeof(int64_t));
            sample.values.push_back(value);
          });
          break;
        case SampleField::kLabel:
          sample.labels.push_back(ReadLabel(Bytes(message, "sample.label")));
          break;
        default:
          message.skip();
      }
    }
    if (sample.values.size() != profile_.sample_types.size()) {
      Malformed(fmt::format("sample.value: {} values for {} sample types", sample.values.size(),
                            profile_.sample_types.size()));
    }
    profile_.samples.push_back(std::move(sample));
  }

  Label ReadLabel(protozero::data_view bytes) {
    Take(sizeof(Label));
    Label label;
    pbf_message<LabelField> message(bytes);
    while (message.next()) {
      const auto number = [&] { return Varint(message, "label"); };
      switch (message.tag()) {
        case LabelField::kKey:
          label.key = String(number(), "label.key");
          break;
        case LabelField::kStr:
          label.str = String(number(), "label.str");
          break;
        case LabelField::kNum:
          label.num = number();
          break;
        case LabelField::kNumUnit:
          label.num_unit = String(number(), "label.num_unit");
          break;
        default:
          message.skip();
      }
    }
    return label;
  }

  const std::string_view bytes_;
  size_t memory_left_;
  std::vector<std::string_view> strings_;
  IdTable mapping_ids_{"mapping"};
  IdTable function_ids_{"function"};
  IdTable location_ids_{"location"};
  Profile profile_;
};

}  // namespace

Result<Profile> Decode(std::string_view bytes, size_t max_bytes) {
  std::string uncompressed;
  if (IsGzip(bytes)) {
    Result<std::string> result = Gunzip(bytes, max_bytes);
    if (!result) return std::unexpected(result.error());
    uncompressed = std::move(*result);
    bytes = uncompressed;
  }
  if (bytes.size() > max_bytes) {
    return Fail(ErrorCode::kTooLarge, fmt::format("profile: more than {} bytes", max_bytes));
  }
  if (bytes.empty()) return Fail(ErrorCode::kMalformed, "profile: empty");
  const size_t max_memory_bytes =
      max_bytes > std::numeric_limits<size_t>::max() / kMemoryPerInputByte
          ? std::numeric_limits<size_t>::max()
          : max_bytes * kMemoryPerInputByte;
  try {
    return Decoder(bytes, max_memory_bytes).Run();
  } catch (const DecodeError& error) {
    return Fail(error.code, error.message);
  } catch (const protozero::exception& error) {
    return Fail(ErrorCode::kMalformed, fmt::format("profile: no pprof protobuf: {}", error.what()));
  }
}

}  // namespace hotpath::pprof
