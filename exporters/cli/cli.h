// The `hotpath` program without its main: flags in, text and an exit code out.
#pragma once

#include <cstddef>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "exporters/cli/doctor.h"
#include "exporters/cli/probe_table.h"
#include "exporters/cli/record_options.h"
#include "exporters/cli/source.h"

namespace hotpath::cli {

enum ExitCode : int {
  kDone = 0,
  kFailed = 1,      // The user's or the environment's error; one line on stderr.
  kWrongUsage = 2,  // Flags that make no sense.
  kGateFailed = 3,  // quality --min-complete, --min-named.
};

// Everything RunCli takes from its surroundings, so that a test can give its own.
struct CliContext {
  std::string version = "0.1.0";
  std::ostream* out = nullptr;  // The result and nothing else. Never null.
  std::ostream* err = nullptr;  // Remarks, progress, errors. Never null.
  bool out_is_terminal = false, err_is_terminal = false;
  bool no_colour = false;  // NO_COLOR is set.
  size_t columns = 100;    // Of the terminal.
  std::string proc_root = "/proc";
  SourceEnvironment source;  // Its `progress` is set by RunCli.
  HostView host;
  // Records with the in-process pipeline and returns the exit code (the command's, when there is
  // one). The options have been checked. Empty: this build cannot record.
  std::function<int(const RecordOptions&)> record;
  // Where probes would sit; never no table. Empty: this build cannot tell.
  std::function<Result<std::vector<ProbeTable>>(const ProbeTarget&)> probes;
};

// std::cout and std::cerr, this process's terminal, environment and host.
CliContext StandardContext();

// Runs one command. Never throws.
int RunCli(int argc, const char* const* argv, const CliContext& context);

}  // namespace hotpath::cli
