// Filters of a capture.
#include "daemon/open_capture.h"

namespace hotpath {
namespace {

constexpr size_t kMaxPatternBytes = 256;

// `path` is `wanted`, or ends in "/wanted" where `wanted` is a bare name.
bool MatchesExe(const std::string& path, const std::string& wanted) {
  if (path == wanted) return true;
  return wanted.find('/') == std::string::npos && path.ends_with("/" + wanted);
}

// `path` is `wanted` or below it.
bool MatchesCgroup(const std::string& path, std::string wanted) {
  while (wanted.ends_with('/')) wanted.pop_back();
  return path == wanted || path.starts_with(wanted + "/");
}

}  // namespace

Result<OpenCapture> OpenCapture::Open(const CaptureRequest& request, uint32_t session,
                                      uint64_t begin_ns) {
  Result<ProfileType> type = FindProfileType(request.type, request.hz);
  if (!type) return std::unexpected(type.error());
  OpenCapture capture(std::move(*type));
  capture.session_ = session;
  capture.begin_ns_ = begin_ns;
  capture.filter_ = request.filter;
  if (request.filter.comm) {
    if (request.filter.comm->size() > kMaxPatternBytes) {
      return Fail(ErrorCode::kInvalidArgument, "comm: a regular expression of 256 bytes at most");
    }
    RE2::Options quiet;
    quiet.set_log_errors(false);
    capture.comm_ = std::make_shared<const RE2>(*request.filter.comm, quiet);
    if (!capture.comm_->ok()) {
      return Fail(
          ErrorCode::kInvalidArgument,
          "comm=" + *request.filter.comm + ": not a regular expression: " + capture.comm_->error());
    }
  }
  capture.builder_.window().hz = request.hz;
  capture.builder_.window().filtered = !request.filter.empty();
  return capture;
}

bool OpenCapture::Listed(const Sample& sample) {
  std::vector<uint32_t>& pids = filter_.pids;
  if (pids.empty() || std::ranges::find(pids, sample.process.pid) != pids.end()) return true;
  if (!filter_.descendants || std::ranges::find(pids, sample.parent_pid) == pids.end())
    return false;
  pids.push_back(sample.process.pid);
  return true;
}

bool OpenCapture::Wants(const Sample& sample, const ProcessFacts& facts) const {
  if (comm_ && !RE2::PartialMatch(sample.comm, *comm_) &&
      !RE2::PartialMatch(sample.process_name, *comm_)) {
    return false;
  }
  if (filter_.exe && !MatchesExe(facts.exe, *filter_.exe)) return false;
  return !filter_.cgroup || MatchesCgroup(facts.cgroup, *filter_.cgroup);
}

}  // namespace hotpath
