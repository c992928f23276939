// Declares the commands with CLI11, each with help that teaches by examples.
#include "exporters/cli/flags.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>

#include "daemon/profile/profile_type.h"
#include "exporters/cli/help.h"

namespace hotpath::cli {
namespace {

// Where CLI11 writes before the values are checked and converted.
struct RawFlags {
  std::string duration, by = "function", format = "text", colour = "auto", alloc = "sampled";
  std::string base, diff_base, tag_root;
  int hz = 0;
};

using Setup = void (*)(CLI::App&, Flags&, RawFlags&);

void AddOutputFlags(CLI::App& app, Flags&, RawFlags& raw) {
  app.add_option("--format", raw.format, "How to print: text, json or csv")
      ->check(CLI::IsMember({"text", "json", "csv"}))
      ->type_name("FORMAT");
  app.add_option("--color", raw.colour, "Colours: auto (on a terminal), always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->type_name("WHEN");
}

void AddTargetFlags(CLI::App& app, Flags& flags, RawFlags&) {
  app.add_option("-p,--pid", flags.capture.pids, "Only this process; may be repeated")
      ->allow_extra_args(false)
      ->type_name("PID");
  app.add_option("--comm", flags.capture.comm, "Only threads and processes whose name matches")
      ->type_name("RE");
  app.add_option("--exe", flags.capture.exe, "Only this program: a path, or its end")
      ->type_name("PATH");
  app.add_option("--cgroup", flags.capture.cgroup, "Only this cgroup and those below it")
      ->type_name("PATH");
}

void AddCaptureFlags(CLI::App& app, Flags& flags, RawFlags& raw) {
  app.add_option("-t,--type", flags.capture.type,
                 "Profile type to ask a daemon for: " + ProfileTypeNames())
      ->default_str("cpu")
      ->type_name("TYPE");
  app.add_option("-d,--duration", raw.duration, "Let a daemon capture this long (10s)")
      ->type_name("TIME");
  app.add_option("-F,--frequency", raw.hz, "Samples a second a daemon takes of each CPU")
      ->check(CLI::Range(1, 999))
      ->type_name("HZ");
  app.add_option("--from", flags.capture.from, "History from: -2h, RFC 3339 or epoch seconds")
      ->type_name("WHEN");
  app.add_option("--to", flags.capture.to, "History to")->type_name("WHEN");
  AddTargetFlags(app, flags, raw);
}

void AddFilterFlags(CLI::App& app, Flags& flags, RawFlags& raw) {
  app.add_option("--sample-type", flags.view.sample_type, "Value to report: name or number")
      ->type_name("NAME");
  app.add_option("--by", raw.by, "What a row is: function, line, file or address")
      ->check(CLI::IsMember({"function", "line", "file", "address"}))
      ->type_name("WHAT");
  app.add_option("--focus", flags.view.focus, "Only stacks with a frame that matches")
      ->type_name("RE");
  app.add_option("--ignore", flags.view.ignore, "No stacks with a frame that matches")
      ->type_name("RE");
  app.add_option("--hide", flags.view.hide, "Leave matching frames out")->type_name("RE");
  app.add_option("--show", flags.view.show, "Leave all other frames out")->type_name("RE");
  app.add_option("--tagfocus", flags.view.tag_focus,
                 "Only samples whose label matches: comm=RE, pid=100:200, bytes=1kb:")
      ->allow_extra_args(false)
      ->type_name("K=V");
  app.add_option("--tagignore", flags.view.tag_ignore, "No samples whose label matches")
      ->allow_extra_args(false)
      ->type_name("K=V");
  app.add_option("--tagroot", raw.tag_root, "Put these labels above the stacks, as frames")
      ->type_name("K,...");
}

void AddBaseFlags(CLI::App& app, Flags&, RawFlags& raw) {
  auto* base = app.add_option("--base", raw.base, "Subtract this profile")->type_name("SOURCE");
  app.add_option("--diff-base", raw.diff_base, "Subtract; percentages are of this profile")
      ->type_name("SOURCE")
      ->excludes(base);
}

void AddOrderFlags(CLI::App& app, Flags& flags, RawFlags&) {
  app.add_flag("--cum", flags.by_cum, "Order by the time in a function and all it calls");
  app.add_option("-n", flags.row_count, "Rows to print; 0 prints all")
      ->default_str("20")
      ->type_name("ROWS");
}

void AddSource(CLI::App& app, Flags& flags) {
  app.add_option("SOURCE", flags.source, "A profile, a URL, or nothing: the daemon of this host");
}

void SetUpReport(CLI::App& app, Flags& flags, RawFlags& raw) {
  AddSource(app, flags);
  AddOrderFlags(app, flags, raw);
  AddFilterFlags(app, flags, raw);
  AddBaseFlags(app, flags, raw);
  AddCaptureFlags(app, flags, raw);
  AddOutputFlags(app, flags, raw);
}

void SetUpSymbolReport(CLI::App& app, Flags& flags, RawFlags& raw) {
  app.add_option("RE", flags.symbol, "Functions whose name matches this expression")->required();
  SetUpReport(app, flags, raw);
}

void SetUpList(CLI::App& app, Flags& flags, RawFlags& raw) {
  SetUpSymbolReport(app, flags, raw);
  app.add_option("--source-path", flags.source_path, "Directories of sources, separated by ':'")
      ->type_name("DIR");
}

void SetUpFlame(CLI::App& app, Flags& flags, RawFlags& raw) {
  AddSource(app, flags);
  app.add_option("-o,--output", flags.output, "Write an SVG here; '-' is stdout")
      ->type_name("FILE");
  AddFilterFlags(app, flags, raw);
  AddBaseFlags(app, flags, raw);
  AddCaptureFlags(app, flags, raw);
  AddOutputFlags(app, flags, raw);
}

void SetUpDiff(CLI::App& app, Flags& flags, RawFlags& raw) {
  app.add_option("BASE", flags.base, "The profile before: a file or a URL")->required();
  app.add_option("NEW", flags.source, "The profile after")->required();
  AddOrderFlags(app, flags, raw);
  AddFilterFlags(app, flags, raw);
  AddCaptureFlags(app, flags, raw);
  AddOutputFlags(app, flags, raw);
}

void SetUpQuality(CLI::App& app, Flags& flags, RawFlags& raw) {
  AddSource(app, flags);
  app.add_option("--min-complete", flags.min_complete,
                 "Exit 3 when a smaller share of the stacks is complete")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("RATIO");
  app.add_option("--min-named", flags.min_named,
                 "Exit 3 when a smaller share of the frames is named")
      ->check(CLI::Range(0.0, 1.0))
      ->type_name("RATIO");
  AddCaptureFlags(app, flags, raw);
  AddOutputFlags(app, flags, raw);
}

void SetUpRecord(CLI::App& app, Flags& flags, RawFlags& raw) {
  app.add_option("-t,--type", flags.record.type, "Profile type: " + ProfileTypeNames())
      ->default_str("cpu")
      ->type_name("TYPE");
  AddTargetFlags(app, flags, raw);
  app.add_option("-d,--duration", raw.duration, "How long; 10s, or until the command ends")
      ->type_name("TIME");
  app.add_option("-F,--frequency", raw.hz, "Samples a second of each CPU (99)")
      ->check(CLI::Range(1, 999))
      ->type_name("HZ");
  app.add_option("-o,--output", flags.record.output,
                 "File to write (hotpath.TYPE.pb.gz); '-' is stdout")
      ->type_name("FILE");
  app.add_option("--alloc", raw.alloc, "Allocations: sampled or exact")
      ->check(CLI::IsMember({"sampled", "exact"}))
      ->type_name("MODE");
  app.add_flag("--quiet", flags.record.quiet, "No progress, no remarks");
  app.add_option("--ring-bytes", flags.record.ring_bytes, "Bytes of the sample buffer")->group("");
  app.add_option("--max-files", flags.record.max_files, "File numbers of the kernel side")
      ->group("");
}

void SetUpProbes(CLI::App& app, Flags& flags, RawFlags& raw) {
  auto* pid = app.add_option("-p,--pid", flags.probes.pid, "The allocators of this process")
                  ->check(CLI::Range(1, 1 << 22))
                  ->type_name("PID");
  app.add_option("FILE", flags.probes.file, "A program or a library")->excludes(pid);
  AddOutputFlags(app, flags, raw);
}

struct Command {
  const char* name;
  Setup setup;
};
constexpr Command kCommands[] = {
    {"record", SetUpRecord},     {"top", SetUpReport},      {"list", SetUpList},
    {"peek", SetUpSymbolReport}, {"tree", SetUpReport},     {"traces", SetUpReport},
    {"tags", SetUpReport},       {"raw", SetUpReport},      {"flame", SetUpFlame},
    {"diff", SetUpDiff},         {"quality", SetUpQuality}, {"probes", SetUpProbes},
    {"doctor", AddOutputFlags},
};

// Turns texts into what they mean. The message of an error has no command before it.
Result<void> Convert(Flags& flags, const RawFlags& raw) {
  if (!raw.duration.empty()) {
    const auto duration = ParseDuration(raw.duration);
    if (!duration) {
      return Fail(ErrorCode::kInvalidArgument,
                  "--duration '" + raw.duration + "' is no time such as 500ms, 10s, 2m or 1h");
    }
    flags.capture.duration = flags.record.duration = duration;
  }
  if (raw.hz != 0) {
    flags.capture.hz = raw.hz;
    flags.record.hz = raw.hz;
  }
  flags.view.by = report::GranularityFromName(raw.by).value_or(report::Granularity::kFunction);
  flags.format = raw.format == "json"  ? Format::kJson
                 : raw.format == "csv" ? Format::kCsv
                                       : Format::kText;
  flags.colour = raw.colour == "always"  ? ColourMode::kAlways
                 : raw.colour == "never" ? ColourMode::kNever
                                         : ColourMode::kAuto;
  if (flags.command != "diff") {
    flags.base_is_diff = !raw.diff_base.empty();
    flags.base = flags.base_is_diff ? raw.diff_base : raw.base;
  }
  for (size_t at = 0; at < raw.tag_root.size();) {
    const size_t end = std::min(raw.tag_root.find(',', at), raw.tag_root.size());
    if (end > at) flags.view.tag_root.push_back(raw.tag_root.substr(at, end - at));
    at = end + 1;
  }
  flags.record.pids = flags.capture.pids;
  const auto set = [](std::optional<std::string>& target, const std::string& text) {
    if (!text.empty()) target = text;
  };
  set(flags.record.comm, flags.capture.comm);
  set(flags.record.exe, flags.capture.exe);
  set(flags.record.cgroup, flags.capture.cgroup);
  flags.record.alloc = raw.alloc == "exact" ? AllocMode::kExact : AllocMode::kSampled;
  return {};
}

int WrongUsage(std::ostream& err, const std::string& command, std::string message) {
  std::ranges::replace(message, '\n', ' ');
  err << "hotpath" << (command.empty() ? "" : " " + command) << ": " << message << "; see 'hotpath "
      << (command.empty() ? "" : command + " ") << "--help'\n";
  return 2;
}

}  // namespace

Parsed ParseFlags(int argc, const char* const* argv, const std::string& version, std::ostream& out,
                  std::ostream& err) {
  Flags flags;
  RawFlags raw;
  // What follows "--" is a command with flags of its own.
  std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  const auto separator = std::ranges::find(words, "--");
  const bool has_separator = separator != words.end();
  if (has_separator) {
    flags.record.command.assign(separator + 1, words.end());
    words.erase(separator, words.end());
  }

  CLI::App app{std::string(kAppDescription), "hotpath"};
  app.footer(std::string(kAppFooter));
  app.set_version_flag("--version", "hotpath " + version, "Print the version");
  app.require_subcommand(1);
  app.get_formatter()->column_width(32);
  for (const Command& command : kCommands) {
    const CommandHelp help = HelpOf(command.name);
    CLI::App* sub = app.add_subcommand(command.name, std::string(help.description));
    sub->footer(std::string(help.footer));
    command.setup(*sub, flags, raw);
  }
  std::string name;
  try {
    std::vector<std::string> reversed(words.rbegin(), words.rend());
    app.parse(reversed);
    name = app.get_subcommands().front()->get_name();
  } catch (const CLI::Success& success) {
    app.exit(success, out, err);
    return 0;
  } catch (const CLI::ParseError& error) {
    if (!app.get_subcommands().empty()) name = app.get_subcommands().front()->get_name();
    return WrongUsage(err, name, error.what());
  }
  flags.command = name;
  const auto* format = app.get_subcommand(name)->get_option_no_throw("--format");
  flags.format_given = format && format->count() > 0;
  if (has_separator && name != "record") {
    return WrongUsage(err, name, "only record takes a command after --");
  }
  if (has_separator && flags.record.command.empty()) {
    return WrongUsage(err, name, "there is no command after --");
  }
  if (name == "probes" && !flags.probes.pid && flags.probes.file.empty()) {
    return WrongUsage(err, name, "a process (-p PID) or a file is required");
  }
  if (auto converted = Convert(flags, raw); !converted) {
    return WrongUsage(err, name, converted.error().message);
  }
  return flags;
}

}  // namespace hotpath::cli
