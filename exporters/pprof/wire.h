// Field numbers of pprof's profile.proto (package perftools.profiles).
#pragma once

#include <cstdint>

namespace hotpath::pprof {

enum class ProfileField : uint32_t {
  kSampleType = 1,
  kSample = 2,
  kMapping = 3,
  kLocation = 4,
  kFunction = 5,
  kStringTable = 6,  // Entry 0 is "".
  kDropFrames = 7,
  kKeepFrames = 8,
  kTimeNanos = 9,
  kDurationNanos = 10,
  kPeriodType = 11,
  kPeriod = 12,
  kComment = 13,
  kDefaultSampleType = 14,
};

enum class ValueTypeField : uint32_t { kType = 1, kUnit = 2 };

enum class SampleField : uint32_t { kLocationId = 1, kValue = 2, kLabel = 3 };

enum class LabelField : uint32_t { kKey = 1, kStr = 2, kNum = 3, kNumUnit = 4 };

enum class MappingField : uint32_t {
  kId = 1,
  kMemoryStart = 2,
  kMemoryLimit = 3,
  kFileOffset = 4,
  kFilename = 5,
  kBuildId = 6,
  kHasFunctions = 7,
  kHasFilenames = 8,
  kHasLineNumbers = 9,
  kHasInlineFrames = 10,
};

enum class LocationField : uint32_t { kId = 1, kMappingId = 2, kAddress = 3, kLine = 4 };

enum class LineField : uint32_t { kFunctionId = 1, kLine = 2 };

enum class FunctionField : uint32_t {
  kId = 1,
  kName = 2,
  kSystemName = 3,
  kFilename = 4,
  kStartLine = 5,
};

}  // namespace hotpath::pprof
