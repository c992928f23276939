// Flags by CLI11, the file by toml++, one table that both read.
#include "daemon/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <functional>
#include <iostream>
#include <map>
#include <numeric>
#include <vector>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace hotpath {
namespace {

constexpr uint64_t kMinMemory = 16 << 20;
constexpr uint64_t kMaxRing = uint64_t{1} << 30;

// One option under its one name, as a flag and as a key of the file.
struct Key {
  const char* name;
  const char* help;
  std::function<Result<void>(Options&, const std::string&)> set;
};

Error Wrong(std::string_view name, std::string_view value, std::string_view expected) {
  return {ErrorCode::kInvalidArgument, fmt::format("{} {}: expected {}", name, value, expected)};
}

Result<void> SetText(std::string& field, const std::string& value) {
  field = value;
  return {};
}

Result<void> SetFrequency(Options& options, const std::string& value) {
  int hz = -1;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), hz);
  if (error != std::errc() || end != value.data() + value.size() || hz < 0 || hz > 999) {
    return std::unexpected(Wrong("frequency", value, "a rate of 0 to 999 Hz, 0 = on request only"));
  }
  options.frequency_hz = hz;
  return {};
}

Result<void> SetMemory(Options& options, const std::string& value) {
  const Result<uint64_t> bytes = ParseBytes(value);
  if (!bytes || *bytes < kMinMemory) {
    return std::unexpected(Wrong("memory-limit", value, "a size of 16MiB or more, as 64MiB"));
  }
  options.memory_limit_bytes = *bytes;
  return {};
}

Result<void> SetRing(Options& options, const std::string& value) {
  const Result<uint64_t> bytes = ParseBytes(value);
  if (!bytes || *bytes > kMaxRing) {
    return std::unexpected(Wrong("ring-bytes", value, "a size up to 1GiB"));
  }
  options.ring_bytes = *bytes;
  return {};
}

Result<void> SetRatio(double& field, std::string_view name, const std::string& value) {
  const Result<double> ratio = ParsePercent(value);
  if (!ratio) return std::unexpected(Wrong(name, value, "a share of 0% to 100%, as 0.5%"));
  field = *ratio;
  return {};
}

Result<void> SetLevel(Options& options, const std::string& value) {
  constexpr std::array<std::string_view, 5> kLevels = {"trace", "debug", "info", "warn", "error"};
  if (std::ranges::find(kLevels, value) == kLevels.end()) {
    return std::unexpected(Wrong("log-level", value, "one of trace, debug, info, warn, error"));
  }
  options.log_level = value;
  return {};
}

const std::vector<Key>& Keys() {
  static const std::vector<Key> keys = {
      {"listen", "Address of the HTTP server; empty: none",
       [](Options& o, const std::string& v) { return SetText(o.listen, v); }},
      {"socket", "Path of the Unix socket; empty: none",
       [](Options& o, const std::string& v) { return SetText(o.socket, v); }},
      {"token-file", "File with the bearer token that TCP requests must carry",
       [](Options& o, const std::string& v) { return SetText(o.token_file, v); }},
      {"frequency", "Always-on sampling rate in Hz; 0: sample on request only", SetFrequency},
      {"state-dir", "Where symbol indices are kept; empty: in memory",
       [](Options& o, const std::string& v) { return SetText(o.state_dir, v); }},
      {"memory-limit", "Bound of our own memory, unwind tables included", SetMemory},
      {"cpu-budget", "Bound of our own CPU use, of one CPU; 0%: none",
       [](Options& o, const std::string& v) {
         return SetRatio(o.cpu_budget_ratio, "cpu-budget", v);
       }},
      {"alloc-budget", "CPU share allocation probes may cost a process; 0: off",
       [](Options& o, const std::string& v) {
         return SetRatio(o.alloc_budget_ratio, "alloc-budget", v);
       }},
      {"log-level", "trace, debug, info, warn or error", SetLevel},
      {"ring-bytes", "Size of the sample buffer; 0: 256 KiB a CPU", SetRing},
  };
  return keys;
}

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); j++) {
      const size_t up = row[j];
      row[j] = std::min({up + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = up;
    }
  }
  return row[b.size()];
}

std::string NearestKey(std::string_view unknown) {
  std::string nearest = "alloc";
  size_t best = EditDistance(unknown, nearest);
  for (const Key& key : Keys()) {
    if (const size_t distance = EditDistance(unknown, key.name); distance < best) {
      best = distance;
      nearest = key.name;
    }
  }
  return nearest;
}

Result<void> ApplyFile(Options& options, bool must_exist) {
  if (!std::filesystem::exists(options.config)) {
    if (!must_exist) return {};
    return Fail(ErrorCode::kInvalidArgument, options.config + ": no such configuration file");
  }
  const toml::parse_result parsed = toml::parse_file(options.config);
  if (!parsed) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{}:{}: {}", options.config, parsed.error().source().begin.line,
                            parsed.error().description()));
  }
  for (const auto& [toml_key, node] : parsed.table()) {
    const std::string name(toml_key.str());
    if (name == "alloc" && node.is_boolean()) {
      options.alloc = node.as_boolean()->get();
      continue;
    }
    const auto key = std::ranges::find_if(Keys(), [&](const Key& k) { return name == k.name; });
    if (key == Keys().end()) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}:{}: unknown key '{}': did you mean '{}'?", options.config,
                              node.source().begin.line, name, NearestKey(name)));
    }
    std::string value;
    if (node.is_string()) {
      value = node.as_string()->get();
    } else if (node.is_integer()) {
      value = std::to_string(node.as_integer()->get());
    } else {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{}:{}: {}: expected a string or an integer", options.config,
                              node.source().begin.line, name));
    }
    if (Result<void> set = key->set(options, value); !set) {
      return Fail(
          ErrorCode::kInvalidArgument,
          fmt::format("{}:{}: {}", options.config, node.source().begin.line, set.error().message));
    }
  }
  return {};
}

}  // namespace

Result<uint64_t> ParseBytes(const std::string& text) {
  uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, number);
  static const std::map<std::string, int> kShifts = {
      {"", 0},   {"B", 0},    {"k", 10},  {"K", 10}, {"KiB", 10}, {"kB", 10}, {"KB", 10},
      {"M", 20}, {"MiB", 20}, {"MB", 20}, {"G", 30}, {"GiB", 30}, {"GB", 30}};
  const auto shift = kShifts.find(std::string(unit, end));
  if (error != std::errc() || shift == kShifts.end() || number > (UINT64_MAX >> 40)) {
    return Fail(ErrorCode::kInvalidArgument, text + ": expected a size, as 64MiB");
  }
  return number << shift->second;
}

Result<double> ParsePercent(const std::string& text) {
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, number);
  const bool percent = std::string_view(unit, end) == "%";
  const double ratio = percent ? number / 100 : number;
  if (error != std::errc() || (!percent && unit != end) || !(ratio >= 0 && ratio <= 1)) {
    return Fail(ErrorCode::kInvalidArgument, text + ": expected a share, as 0.5%");
  }
  return ratio;
}

Result<Options> ParseOptions(int argc, char** argv, int* exit_status) {
  CLI::App app{
      "hotpathd samples the CPU stacks of every process and serves them as profiles.\n"
      "  go tool pprof http://127.0.0.1:7878/debug/pprof/profile?seconds=30\n"
      "  hotpath top -d 10s"};
  app.set_version_flag("--version", std::string("hotpathd ") + kVersion);
  Options options;
  bool no_alloc = false;
  CLI::Option* const config =
      app.add_option("--config", options.config, "Configuration file (TOML)")
          ->capture_default_str();
  std::map<const Key*, std::string> given;
  for (const Key& key : Keys()) {
    app.add_option_function<std::string>(
        std::string("--") + key.name, [&given, &key](const std::string& v) { given[&key] = v; },
        key.help);
  }
  app.add_flag("--no-alloc", no_alloc, "No allocation profiling");
  app.add_flag("--check-config", options.check_config, "Check the configuration and exit");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    *exit_status = app.exit(success);
    return options;
  } catch (const CLI::ParseError& error) {
    *exit_status = 2;
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("{} (hotpathd --help lists the flags)", error.what()));
  }
  if (Result<void> file = ApplyFile(options, config->count() > 0); !file) {
    return std::unexpected(file.error());
  }
  for (const auto& [key, value] : given) {
    if (Result<void> set = key->set(options, value); !set) {
      return Fail(ErrorCode::kInvalidArgument, "--" + set.error().message);
    }
  }
  if (no_alloc) options.alloc = false;
  return options;
}

}  // namespace hotpath
