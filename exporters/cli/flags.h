// Every flag of every command, parsed.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "daemon/base/result.h"
#include "exporters/cli/probe_table.h"
#include "exporters/cli/record_options.h"
#include "exporters/cli/source.h"
#include "exporters/report/view.h"

namespace hotpath::cli {

enum class Format : uint8_t { kText, kJson, kCsv };
enum class ColourMode : uint8_t { kAuto, kAlways, kNever };

struct Flags {
  std::string command;  // "top", "record", ...
  std::string source;   // [SOURCE], or NEW of diff.
  std::string base;     // BASE of diff, --base, --diff-base.
  bool base_is_diff = false;
  std::string symbol;  // RE of list and peek.
  CaptureOptions capture;
  report::ViewOptions view;
  bool by_cum = false;
  size_t row_count = 20;
  std::string source_path;
  std::string output;  // -o of flame.
  Format format = Format::kText;
  bool format_given = false;
  ColourMode colour = ColourMode::kAuto;
  std::optional<double> min_complete, min_named;
  RecordOptions record;
  ProbeTarget probes;
};

// What parsing ended with: flags to run, or an exit code when help or an error has been printed.
using Parsed = std::variant<Flags, int>;

// Help and version go to `out`; a wrong usage is one line on `err` and exit code 2.
Parsed ParseFlags(int argc, const char* const* argv, const std::string& version, std::ostream& out,
                  std::ostream& err);

}  // namespace hotpath::cli
