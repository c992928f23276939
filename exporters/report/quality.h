// How good a profile is: whole stacks, named frames, and what was lost, by program and by file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "exporters/report/header.h"

namespace hotpath::report {

struct ReasonCount {
  std::string reason;  // "no unwind rule", "ring buffer full".
  int64_t samples = 0;
};
struct ExeQuality {
  std::string exe;  // Empty: samples of no known program, such as kernel threads.
  int64_t samples = 0, complete = 0, frames = 0, named = 0;
};
struct FileQuality {
  std::string file, build_id;
  int64_t frames = 0;
  std::optional<int64_t> failed, rows;  // Known only where the profiler left its account.
  std::string table;                    // "eh_frame", "none", ...; empty: unknown.
};

// Everything counts samples, not rows of the profile: a frame in a stack seen 7 times is 7 frames.
// Lost samples are no samples here. An inlined function is no frame of its own.
struct Quality {
  int64_t samples = 0, complete = 0;  // Complete: no `stack` label, no [truncated: ...] frame.
  int64_t frames = 0, named = 0;      // Unnamed: "libc.so.6+0x1234", "[anon]+0x7f..".
  std::optional<double> cpu_seconds_profile, cpu_seconds_kernel;
  std::vector<ReasonCount> truncated, lost;  // Most first.
  std::vector<ExeQuality> by_exe;            // Most samples first.
  std::vector<FileQuality> by_file;          // Most frames first.

  double CompleteRatio() const;  // 1 where there are no samples.
  double NamedRatio() const;
};

// From the profile alone: its labels, its frames' names, and the comments
// "file=NAME build_id=ID table=KIND rows=N frames=N failed=N" and "cpu_seconds_kernel=S".
Quality MeasureQuality(const pprof::Profile& profile);

// True when the text names no function: "libfoo.so+0x1234", "[anon]+0x7f00", "".
bool IsUnnamed(std::string_view frame_name);

std::string QualityText(const Quality& quality);
Json QualityJson(const Quality& quality);
// scope,name,build_id,samples,complete_ratio,frames,named_ratio,failed: the total, then each
// program and file.
std::string QualityCsv(const Quality& quality);

}  // namespace hotpath::report
