// Go's /debug/pprof/ endpoints over a source of captures.
#include "exporters/pprof/handlers.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "exporters/pprof/profile_query.h"

namespace hotpath::pprof {
namespace {

constexpr std::string_view kRoot = "/debug/pprof";
constexpr size_t kMaxAddresses = 100'000;
constexpr uint64_t kFirstKernelAddress = uint64_t{1} << 63;

constexpr std::string_view kIndexBegin = R"(<!DOCTYPE html>
<html>
<head>
<title>/debug/pprof/</title>
<style>
.profile-name { display: inline-block; width: 9rem; }
</style>
</head>
<body>
/debug/pprof/<br>
<p>What this machine's programs do, in the format of <code>go tool pprof</code>.</p>
<table>
<thead><td>Profile</td></thead>
)";

constexpr std::string_view kIndexEnd = R"(</table>
<p>Parameters of each: <code>seconds</code> (30), <code>hz</code> (99), and which
samples to keep: <code>pid</code>, <code>comm</code> (a regular expression), <code>exe</code>,
<code>cgroup</code>, or any label by its name.</p>
<ul>
<li><div class="profile-name"><a href="cmdline">cmdline</a>:</div> The command line of hotpathd</li>
<li><div class="profile-name">profiles:</div> After the seconds are over, investigate the file with
<code>go tool pprof</code> or <code>hotpath top</code>.</li>
<li><div class="profile-name"><a href="symbol">symbol</a>:</div> Names of kernel addresses</li>
</ul>
</body>
</html>
)";

HttpResponse Plain(std::string body) {
  return {.headers = {{"X-Content-Type-Options", "nosniff"}}, .body = std::move(body)};
}

std::string Index() {
  std::string html(kIndexBegin);
  for (const ProfileType& type : ProfileTypes(1)) {
    html += fmt::format("<tr><td><a href=\"{0}?seconds=30\">{0}</a></td><td>{1}</td></tr>\n",
                        type.endpoint, type.title);
  }
  return html.append(kIndexEnd);
}

std::vector<std::string> Endpoints() {
  std::vector<std::string> endpoints;
  for (const ProfileType& type : ProfileTypes(1)) endpoints.push_back(type.endpoint);
  return endpoints;
}

// "0xffffffff81000000+0xffffffff81000010": hex, with or without 0x; anything else is skipped.
void AddAddresses(std::string_view text, std::vector<uint64_t>& addresses) {
  while (!text.empty() && addresses.size() < kMaxAddresses) {
    const size_t end = text.find_first_of("+ \n");
    std::string_view word = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (word.starts_with("0x") || word.starts_with("0X")) word.remove_prefix(2);
    uint64_t address = 0;
    const auto [rest, error] = std::from_chars(word.data(), word.data() + word.size(), address, 16);
    if (error == std::errc() && rest == word.data() + word.size()) addresses.push_back(address);
  }
}

}  // namespace

HttpResponse PprofError(int status, std::string message) {
  HttpResponse response = Plain(std::move(message) + "\n");
  response.status = status;
  response.headers.emplace_back("X-Go-Pprof", "1");
  return response;
}

HttpResponse PprofError(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
      return PprofError(400, error.message);
    case ErrorCode::kNotFound:
      return PprofError(404, error.message);
    case ErrorCode::kBusy:
    case ErrorCode::kUnavailable: {
      HttpResponse response = PprofError(503, error.message);
      response.headers.emplace_back("Retry-After", "5");
      return response;
    }
    default:
      return PprofError(500, error.message);
  }
}

HttpResponse ProfileHandler::Handle(const HttpRequest& request) {
  Result<ProfileQuery> query = ParseProfileQuery(request.query);
  if (!query) return PprofError(query.error());
  query->request.type = type_;
  const Result<ProfileType> type = FindProfileType(type_, query->request.hz);
  if (!type) return PprofError(type.error());
  HttpResponse response{.content_type = "application/octet-stream",
                        .headers = {{"X-Content-Type-Options", "nosniff"},
                                    {"Content-Disposition",
                                     fmt::format(R"(attachment; filename="{}")", type->endpoint)}},
                        .body = {}};
  if (request.method == "HEAD") return response;
  Result<std::unique_ptr<Window>> window = source_.Capture(query->request, *request.cancelled);
  if (!window) return PprofError(window.error());
  // Nobody waits for it, or nobody will for long: naming and compressing would be for nothing.
  if (request.cancelled->load()) return PprofError(503, "the capture was cancelled");
  const Profile profile = FromWindow(**window, symbolizer_, context_, query->matches);
  window->reset();
  response.body = EncodeGzip(profile);
  return response;
}

HttpResponse PprofHandler::Symbol(const HttpRequest& request) {
  std::vector<uint64_t> addresses;
  // In a query a '+' is a space, and the first '=' would end a key.
  for (const auto& [key, value] : request.query) AddAddresses(key, addresses);
  if (request.method == "POST") AddAddresses(request.body, addresses);
  std::vector<Frame> frames;
  for (const uint64_t address : addresses) {
    if (address >= kFirstKernelAddress) frames.push_back(Frame::Kernel(address));
  }
  // Not a count: pprof only wants to know that it is not 0. Addresses of processes are in no
  // profile of ours without their names, and mean nothing without the process.
  std::string text = "num_symbols: 1\n";
  if (frames.empty()) return Plain(std::move(text));
  const std::vector<SymbolizedFrame> named = symbolizer_.Symbolize({}, frames);
  for (size_t i = 0; i < named.size(); ++i) {
    if (!named[i].named || named[i].lines.empty()) continue;
    text += fmt::format("{:#x} {}\n", frames[i].address(), named[i].lines.back().function);
  }
  return Plain(std::move(text));
}

HttpResponse PprofHandler::Handle(const HttpRequest& request) {
  std::string_view name = request.path;
  if (name.starts_with(kRoot)) name.remove_prefix(kRoot.size());
  if (name.empty()) {
    return {.status = 301, .headers = {{"Location", "/debug/pprof/"}}, .body = {}};
  }
  if (name == "/") {
    HttpResponse response = Plain(Index());
    response.content_type = "text/html; charset=utf-8";
    return response;
  }
  if (name == "/cmdline")
    return Plain(fmt::format("{}", fmt::join(arguments_, std::string(1, '\0'))));
  if (name == "/symbol") return Symbol(request);
  return PprofError(404,
                    fmt::format("Unknown profile; known are {}", fmt::join(Endpoints(), ", ")));
}

}  // namespace hotpath::pprof
