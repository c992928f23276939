// Runs a parsed command: load, report, print.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iostream>

#include "exporters/cli/cli.h"
#include "exporters/cli/flags.h"
#include "exporters/cli/paint.h"
#include "exporters/report/diff.h"
#include "exporters/report/flame_svg.h"
#include "exporters/report/flame_terminal.h"
#include "exporters/report/listing.h"
#include "exporters/report/quality.h"
#include "exporters/report/tags.h"
#include "exporters/report/top.h"
#include "exporters/report/traces.h"
#include "exporters/report/tree.h"

namespace hotpath::cli {
namespace {

// pprof's defaults for text reports; JSON and CSV hold everything.
constexpr double kNodeFraction = 0.005, kEdgeFraction = 0.001;

// One command's run. Lives as long as RunCli's call.
class Run {
 public:
  Run(const Flags& flags, const CliContext& context) : flags_(flags), context_(context) {
    environment_ = context.source;
    environment_.progress = context.err_is_terminal ? context.err : nullptr;
  }

  int Execute() {
    if (flags_.command == "doctor") return Doctor();
    if (flags_.command == "record") return Record();
    if (flags_.command == "probes") return Probes();
    if (flags_.command == "diff") return Diff();
    auto profile = LoadProfile(flags_.source, flags_.capture, environment_);
    if (!profile) return Failed(profile.error());
    profile = report::Compact(*profile);
    if (flags_.command == "quality") return Quality(*profile);
    if (flags_.command == "raw") return Raw(*profile);
    if (!flags_.base.empty()) {
      auto base = LoadProfile(flags_.base, flags_.capture, environment_);
      if (!base) return Failed(base.error());
      profile = report::Subtract(std::move(*profile), std::move(*base), flags_.base_is_diff);
      if (!profile) return Failed(profile.error());
    }
    report::ViewOptions options = flags_.view;
    if (flags_.command == "list") options.by = report::Granularity::kLine;
    auto view = report::MakeView(std::move(*profile), options);
    if (!view) return Failed(view.error());
    Remark(view->remarks);
    return flags_.command == "flame" ? Flame(*view) : Report(*view);
  }

 private:
  int Failed(const Error& error) const {
    *context_.err << "hotpath " << flags_.command << ": " << WithoutControls(error.message) << "\n";
    return kFailed;
  }
  void Remark(const std::vector<std::string>& remarks) const {
    for (const std::string& remark : remarks) {
      *context_.err << "hotpath " << flags_.command << ": " << WithoutControls(remark) << "\n";
    }
  }
  bool Colour() const {
    if (flags_.colour != ColourMode::kAuto) return flags_.colour == ColourMode::kAlways;
    return context_.out_is_terminal && !context_.no_colour;
  }
  bool Json() const { return flags_.format == Format::kJson; }
  bool Csv() const { return flags_.format == Format::kCsv; }

  // A report's text: foreign names may hold escape sequences, which no terminal must see.
  int PrintText(const std::string& text) const {
    const std::string safe = WithoutControls(text);
    return Print(Colour() ? PaintReport(flags_.command, safe) : safe);
  }
  int Print(const std::string& bytes) const {
    *context_.out << bytes << std::flush;
    if (context_.out->good()) return kDone;
    return Failed({ErrorCode::kSystem, "cannot write the result: is the disk full?"});
  }
  int PrintResult(const Result<std::string>& text) const {
    if (!text) return Failed(text.error());
    return Csv() ? Print(*text) : PrintText(*text);
  }
  int PrintJson(const Result<report::Json>& json) const {
    return json ? Print(report::Dump(*json)) : Failed(json.error());
  }

  report::TrimOptions Trim() const {
    report::TrimOptions trim;
    trim.by_cum = flags_.by_cum;
    if (flags_.command == "peek") return trim;  // The functions asked for, however small.
    trim.node_count = flags_.row_count;
    if (flags_.format == Format::kText) {
      trim.node_fraction = kNodeFraction;
      trim.edge_fraction = kEdgeFraction;
    }
    return trim;
  }

  int Report(const report::View& view) const {
    const std::string& name = flags_.command;
    if (name == "top") {
      if (Json()) return PrintJson(report::TopJson(view, Trim()));
      return PrintResult(Csv() ? report::TopCsv(view, Trim()) : report::TopText(view, Trim()));
    }
    if (name == "list") {
      const auto sources = report::DiskSources(flags_.source_path);
      if (Json()) return PrintJson(report::ListJson(view, flags_.symbol, sources));
      return PrintResult(Csv() ? report::ListCsv(view, flags_.symbol, sources)
                               : report::ListText(view, flags_.symbol, sources));
    }
    if (name == "peek" || name == "tree") {
      if (Json()) return PrintJson(report::TreeJson(view, Trim(), flags_.symbol));
      return PrintResult(Csv() ? report::TreeCsv(view, Trim(), flags_.symbol)
                               : report::TreeText(view, Trim(), flags_.symbol));
    }
    if (name == "traces") {
      if (Json()) return PrintJson(report::TracesJson(view));
      return PrintResult(Csv() ? report::TracesCsv(view) : report::TracesText(view));
    }
    if (Json()) return PrintJson(report::TagsJson(view));
    return PrintResult(Csv() ? report::TagsCsv(view) : report::TagsText(view));
  }

  int Raw(const pprof::Profile& profile) const {
    if (Json()) return PrintJson(report::RawJson(profile));
    return PrintResult(Csv() ? report::RawCsv(profile) : report::RawText(profile));
  }

  int Flame(const report::View& view) const {
    const report::FlameNode root = report::BuildFlameTree(view);
    if (flags_.format_given && flags_.output.empty()) {
      if (Json()) return PrintJson(report::FlameJson(view, root));
      if (Csv()) return Print(report::FlameCsv(root));
    }
    const bool draw = flags_.output.empty() && (context_.out_is_terminal || flags_.format_given);
    if (draw) {
      report::TerminalStyle style;
      style.columns = context_.columns;
      style.colour = Colour();
      return Print(report::FlameTerminal(view, root, style));
    }
    const std::string title = flags_.source.empty() ? "This host" : report::Basename(flags_.source);
    const std::string svg = report::FlameSvg(view, root, title);
    if (flags_.output.empty() || flags_.output == "-") return Print(svg);
    std::ofstream file(flags_.output, std::ios::binary | std::ios::trunc);
    file << svg << std::flush;
    if (!file) return Failed(FailErrno("write " + flags_.output).error());
    return kDone;
  }

  int Diff() const {
    auto base = LoadProfile(flags_.base, flags_.capture, environment_);
    if (!base) return Failed(base.error());
    auto now = LoadProfile(flags_.source, flags_.capture, environment_);
    if (!now) return Failed(now.error());
    const auto diff = report::Compare(std::move(*base), std::move(*now),
                                      {flags_.view, flags_.by_cum, flags_.row_count});
    if (!diff) return Failed(diff.error());
    Remark(diff->remarks);
    if (Json()) return PrintJson(report::DiffJson(*diff));
    return PrintResult(Csv() ? report::DiffCsv(*diff) : report::DiffText(*diff));
  }

  int Quality(const pprof::Profile& profile) const {
    const report::Quality quality = report::MeasureQuality(profile);
    int code = Json()  ? Print(report::Dump(report::QualityJson(quality)))
               : Csv() ? Print(report::QualityCsv(quality))
                       : PrintText(report::QualityText(quality));
    const auto gate = [&](const char* flag, const std::optional<double>& least, double ratio) {
      if (!least || ratio >= *least) return;
      *context_.err << "hotpath quality: " << ratio << " is under --" << flag << " " << *least
                    << "\n";
      if (code == kDone) code = kGateFailed;
    };
    gate("min-complete", flags_.min_complete, quality.CompleteRatio());
    gate("min-named", flags_.min_named, quality.NamedRatio());
    return code;
  }

  int Doctor() const {
    const std::vector<DoctorCheck> checks = CheckHost(context_.host);
    const int code = Print(Json()  ? DoctorJson(checks)
                           : Csv() ? DoctorCsv(checks)
                                   : DoctorText(checks, Colour()));
    return code != kDone || HostIsFit(checks) ? code : kFailed;
  }

  int Probes() const {
    if (!context_.probes) {
      return Failed({ErrorCode::kUnsupported, "probes is not available in this build"});
    }
    const auto tables = context_.probes(flags_.probes);
    if (!tables) return Failed(tables.error());
    return Json()  ? Print(ProbesJson(*tables))
           : Csv() ? Print(ProbesCsv(*tables))
                   : PrintText(ProbesText(*tables));
  }

  int Record() const {
    const auto options =
        CheckRecordOptions(flags_.record, context_.proc_root, context_.out_is_terminal);
    if (!options) {
      Failed(options.error());
      return options.error().code == ErrorCode::kInvalidArgument ? kWrongUsage : kFailed;
    }
    if (!context_.record) {
      return Failed({ErrorCode::kUnsupported, "record is not available in this build"});
    }
    return context_.record(*options);
  }

  const Flags& flags_;
  const CliContext& context_;
  SourceEnvironment environment_;
};

}  // namespace

CliContext StandardContext() {
  CliContext context;
  context.out = &std::cout;
  context.err = &std::cerr;
  context.out_is_terminal = ::isatty(STDOUT_FILENO) == 1;
  context.err_is_terminal = ::isatty(STDERR_FILENO) == 1;
  const char* no_colour = std::getenv("NO_COLOR");
  context.no_colour = no_colour && no_colour[0] != '\0';
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    context.columns = size.ws_col;
  }
  context.host = ThisHost();
  return context;
}

int RunCli(int argc, const char* const* argv, const CliContext& context) {
  try {
    const Parsed parsed = ParseFlags(argc, argv, context.version, *context.out, *context.err);
    if (const int* code = std::get_if<int>(&parsed)) return *code;
    return Run(std::get<Flags>(parsed), context).Execute();
  } catch (const std::exception& exception) {  // bad_alloc, filesystem errors: libraries throw.
    *context.err << "hotpath: " << exception.what() << "\n";
    return kFailed;
  }
}

}  // namespace hotpath::cli
