// Where a profile comes from: a file, a URL, or the daemon of this host.
#pragma once

#include <chrono>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "exporters/pprof/profile.h"

namespace hotpath::cli {

// What to ask a daemon for; a file ignores it.
struct CaptureOptions {
  std::string type = "cpu";
  std::optional<std::chrono::nanoseconds> duration;
  std::optional<int> hz;
  std::vector<uint32_t> pids;
  std::string comm, exe, cgroup;
  std::string from, to;  // "-2h", RFC 3339, epoch seconds: passed through.
};

struct SourceEnvironment {
  std::string daemon_socket = "/run/hotpathd/hotpathd.sock";
  std::string daemon_url = "http://127.0.0.1:7878";
  std::ostream* progress = nullptr;  // A terminal's stderr; null: no progress.
};

// `source`: a path ("-" is stdin), an http(s) URL, or empty: the daemon by its socket, then its
// URL. A URL with a path of its own is fetched as it is; else it is a daemon's, and the path and
// query come from `capture` (of types that we know 10 s when no duration is given). Errors say what
// to do: kNotFound (no such file), kMalformed (no profile), kUnavailable (no daemon there),
// kTimeout, kInvalidArgument or kBusy (what the daemon answered).
Result<pprof::Profile> LoadProfile(const std::string& source, const CaptureOptions& capture,
                                   const SourceEnvironment& environment);

// The path and query that ask a daemon for `capture`: "/debug/pprof/profile?seconds=10&hz=99".
std::string CapturePath(const CaptureOptions& capture);

}  // namespace hotpath::cli
