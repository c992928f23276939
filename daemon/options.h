// Every option of the daemon, parsed once from flags and the configuration file.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/base/result.h"

namespace hotpath {

// A flag wins over the file, the file over the default. Each flag is a key of the same name.
struct Options {
  std::string config = "/etc/hotpathd/hotpathd.toml";  // Missing at this path: defaults.
  std::string listen = "127.0.0.1:7878";               // Empty: no TCP.
  std::string socket = "/run/hotpathd/hotpathd.sock";  // Empty: none.
  std::string token_file;                              // Bearer token for TCP beyond loopback.
  int frequency_hz = 19;                        // Always-on rate; 0 to 999, 0 = on request only.
  std::string state_dir = "/var/lib/hotpathd";  // Symbol indices; empty: kept in memory.
  uint64_t memory_limit_bytes = 64 << 20;       // 16 MiB at least.
  double cpu_budget_ratio = 0.01;               // Of one CPU.
  double alloc_budget_ratio = 0.005;
  bool alloc = true;
  std::string log_level = "info";  // trace, debug, info, warn, error.
  bool check_config = false;       // Parse, print "ok", exit.
  uint64_t ring_bytes = 0;         // For tests; 0: by the number of CPUs.
};

// Parses argv; `--help` and `--version` are answered here: *exit_status is then set.
// Errors: kInvalidArgument, one line that says what to do.
Result<Options> ParseOptions(int argc, char** argv, int* exit_status);

// "64MiB", "512k", "1GB" -> bytes. "1%" or "0.5%" -> ratio. nullopt-like error: kInvalidArgument.
Result<uint64_t> ParseBytes(const std::string& text);
Result<double> ParsePercent(const std::string& text);

// The socket systemd's RuntimeDirectory or the flag names; used by the client too.
inline constexpr const char* kVersion = "0.1.0";

}  // namespace hotpath
