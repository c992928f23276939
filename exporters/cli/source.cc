// Reads files, fetches URLs, and turns every failure into a line that says what to do.
#include "exporters/cli/source.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

#include "daemon/profile/profile_type.h"
#include "exporters/cli/http_get.h"

namespace hotpath::cli {
namespace {

constexpr size_t kLargestProfile = size_t{1} << 30;
constexpr std::chrono::seconds kDefaultCapture{10};
constexpr size_t kLongestMessage = 500;

std::string Escape(std::string_view text) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~/";
  std::string escaped;
  for (const char c : text) {
    if (kPlain.find(c) != std::string_view::npos) {
      escaped += c;
    } else {
      escaped += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return escaped;
}

std::string Seconds(std::chrono::nanoseconds duration) {
  return fmt::format("{}", std::chrono::duration<double>(duration).count());
}

std::optional<std::chrono::nanoseconds> CaptureLength(const CaptureOptions& capture) {
  if (capture.duration) return capture.duration;
  const bool history = !capture.from.empty() || !capture.to.empty();
  const bool known = FindProfileType(capture.type, 1).has_value();
  return known && !history ? std::optional(kDefaultCapture) : std::nullopt;
}

bool IsUrl(const std::string& source) {
  return source.starts_with("http://") || source.starts_with("https://");
}

// Where the path begins in "http://host:port/path".
size_t PathBegin(const std::string& url) { return url.find_first_of("/?#", url.find("://") + 3); }

bool IsDaemonUrl(const std::string& url) {
  const size_t path = PathBegin(url);
  return path == std::string::npos || url.substr(path) == "/";
}

// Shows how far a capture is, on one line that is cleared at the end.
class Progress {
 public:
  Progress(std::ostream* out, std::string what, std::optional<std::chrono::nanoseconds> length)
      : out_(out), what_(std::move(what)), length_(length) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() {
    if (out_ && shown_ >= 0) *out_ << "\r\x1b[K" << std::flush;
  }
  void Show() {
    if (!out_) return;
    const auto passed = std::chrono::steady_clock::now() - start_;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(passed).count();
    if (seconds == shown_) return;
    shown_ = seconds;
    *out_ << "\r\x1b[K" << what_ << ": " << seconds;
    if (length_) *out_ << " of " << Seconds(*length_);
    *out_ << " s" << std::flush;
  }

 private:
  std::ostream* out_;  // Null: silent.
  std::string what_;
  std::optional<std::chrono::nanoseconds> length_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int64_t shown_ = -1;  // Seconds on the screen; -1: nothing yet.
};

Result<pprof::Profile> DecodeFrom(const std::string& where, const std::string& bytes) {
  auto profile = pprof::Decode(bytes, kLargestProfile);
  if (!profile) {
    return Fail(profile.error().code, where + " is no profile: " + profile.error().message);
  }
  if (profile->sample_types.empty()) {
    return Fail(ErrorCode::kMalformed, where + " is no profile: it has no sample types");
  }
  return profile;
}

Result<std::string> ReadAll(std::istream& in, const std::string& where) {
  std::string bytes;
  char buffer[1 << 16];
  while (in.read(buffer, sizeof buffer), in.gcount() > 0) {
    bytes.append(buffer, static_cast<size_t>(in.gcount()));
    if (bytes.size() > kLargestProfile) {
      return Fail(ErrorCode::kTooLarge, where + ": larger than 1 GiB");
    }
  }
  return bytes;
}

Result<pprof::Profile> LoadFile(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) {
      return Fail(ErrorCode::kNotFound,
                  "no file " + path + ": give a profile (.pb.gz) or a URL (http://host:7878)");
    }
    return FailErrno("open " + path);
  }
  if (S_ISDIR(status.st_mode)) {
    return Fail(ErrorCode::kInvalidArgument, path + " is a directory: name a profile in it");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return FailErrno("open " + path);
  const auto bytes = ReadAll(file, path);
  if (!bytes) return std::unexpected(bytes.error());
  return DecodeFrom(path, *bytes);
}

// The first line of what a server said, without its control characters.
std::string Message(const HttpReply& reply) {
  std::string message;
  if (reply.is_pprof_error || reply.content_type.starts_with("text/plain")) {
    message = reply.body.substr(0, std::min(reply.body.find('\n'), kLongestMessage));
    std::erase_if(message, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  }
  return message.empty() ? "no message" : message;
}

ErrorCode CodeOfStatus(int status) {
  if (status == 404) return ErrorCode::kNotFound;
  if (status == 401 || status == 403) return ErrorCode::kPermission;
  if (status == 429 || status == 503) return ErrorCode::kBusy;
  return status < 500 ? ErrorCode::kInvalidArgument : ErrorCode::kUnavailable;
}

Result<pprof::Profile> Fetch(HttpGet request, const CaptureOptions& capture,
                             std::optional<std::chrono::nanoseconds> length,
                             const SourceEnvironment& environment) {
  // As pprof waits, half as long again as the capture; and 30 s more than that, in which a busy
  // host reads the lines of files that it meets for the first time.
  request.timeout = std::chrono::duration_cast<std::chrono::milliseconds>(
      length.value_or(std::chrono::seconds(40)) * 3 / 2 + std::chrono::seconds(30));
  request.max_bytes = kLargestProfile;
  Progress progress(environment.progress, "capturing " + capture.type, length);
  request.on_progress = [&] { progress.Show(); };
  const auto reply = Get(request);
  if (!reply) return std::unexpected(reply.error());
  const std::string& where = request.unix_socket.empty() ? request.url : request.unix_socket;
  if (reply->status != 200) {
    return Fail(CodeOfStatus(reply->status),
                fmt::format("{} answers {}: {}", where, reply->status, Message(*reply)));
  }
  return DecodeFrom(where, reply->body);
}

Result<pprof::Profile> FetchUrl(const std::string& url, const CaptureOptions& capture,
                                const SourceEnvironment& environment) {
  HttpGet request;
  request.url = url;
  if (IsDaemonUrl(url)) {
    request.url = url.substr(0, PathBegin(url)) + CapturePath(capture);
    return Fetch(std::move(request), capture, CaptureLength(capture), environment);
  }
  if (capture.duration) {
    request.url += (url.find('?') == std::string::npos ? "?seconds=" : "&seconds=") +
                   Seconds(*capture.duration);
  }
  return Fetch(std::move(request), capture, capture.duration, environment);
}

Result<pprof::Profile> FetchLocal(const CaptureOptions& capture,
                                  const SourceEnvironment& environment) {
  if (::access(environment.daemon_socket.c_str(), F_OK) == 0) {
    HttpGet request;
    request.url = "http://localhost" + CapturePath(capture);
    request.unix_socket = environment.daemon_socket;
    auto profile = Fetch(std::move(request), capture, CaptureLength(capture), environment);
    if (profile || profile.error().code != ErrorCode::kUnavailable) return profile;
  }
  auto profile = FetchUrl(environment.daemon_url, capture, environment);
  if (!profile && profile.error().code == ErrorCode::kUnavailable) {
    return Fail(ErrorCode::kUnavailable, "no daemon on this host (" + environment.daemon_socket +
                                             ", " + environment.daemon_url +
                                             "): start hotpathd, name a file or URL, or use "
                                             "'hotpath record'");
  }
  return profile;
}

}  // namespace

std::string CapturePath(const CaptureOptions& capture) {
  const Result<ProfileType> type = FindProfileType(capture.type, 1);
  std::string path = "/debug/pprof/" + Escape(type ? type->endpoint : capture.type);
  char separator = '?';
  const auto add = [&](const char* key, const std::string& value) {
    if (value.empty()) return;
    path += separator + std::string(key) + "=" + Escape(value);
    separator = '&';
  };
  if (const auto length = CaptureLength(capture)) add("seconds", Seconds(*length));
  if (capture.hz) add("hz", fmt::format("{}", *capture.hz));
  for (const uint32_t pid : capture.pids) add("pid", fmt::format("{}", pid));
  add("comm", capture.comm);
  add("exe", capture.exe);
  add("cgroup", capture.cgroup);
  add("from", capture.from);
  add("to", capture.to);
  return path;
}

Result<pprof::Profile> LoadProfile(const std::string& source, const CaptureOptions& capture,
                                   const SourceEnvironment& environment) {
  if (source.empty()) return FetchLocal(capture, environment);
  if (IsUrl(source)) return FetchUrl(source, capture, environment);
  if (source != "-") return LoadFile(source);
  const auto bytes = ReadAll(std::cin, "stdin");
  if (!bytes) return std::unexpected(bytes.error());
  return DecodeFrom("stdin", *bytes);
}

}  // namespace hotpath::cli
