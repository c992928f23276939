// libcurl behind one function: it knows TLS, proxies, Unix sockets and the many ways HTTP ends.
#include "exporters/cli/http_get.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>
#include <string_view>

namespace hotpath::cli {
namespace {

constexpr long kConnectTimeoutMs = 5000;

struct Transfer {
  const HttpGet* request = nullptr;
  HttpReply reply;
  bool too_large = false;
};

size_t OnBody(char* data, size_t, size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (transfer.reply.body.size() + size > transfer.request->max_bytes) {
    transfer.too_large = true;
    return 0;  // Ends the transfer.
  }
  transfer.reply.body.append(data, size);
  return size;
}

size_t OnHeader(char* data, size_t, size_t size, void* user) {
  std::string name(data, std::min(std::string_view(data, size).find(':'), size));
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (name == "x-go-pprof") static_cast<Transfer*>(user)->reply.is_pprof_error = true;
  return size;
}

int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& transfer = *static_cast<Transfer*>(user);
  if (transfer.request->on_progress) transfer.request->on_progress();
  return 0;
}

ErrorCode CodeOf(CURLcode code) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return ErrorCode::kTimeout;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
      return ErrorCode::kInvalidArgument;
    default:
      return ErrorCode::kUnavailable;
  }
}

}  // namespace

Result<HttpReply> Get(const HttpGet& request) {
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  if (!curl) return Fail(ErrorCode::kSystem, "libcurl does not start");
  Transfer transfer;
  transfer.request = &request;
  char message[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl.get(), CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_ACCEPT_ENCODING, "");  // Whatever libcurl can undo.
  curl_easy_setopt(curl.get(), CURLOPT_USERAGENT, "hotpath");
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, message);
  if (!request.unix_socket.empty()) {
    curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, request.unix_socket.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_NOPROXY, "*");
  }
  const CURLcode code = curl_easy_perform(curl.get());
  const std::string where = request.unix_socket.empty() ? request.url : request.unix_socket;
  if (transfer.too_large) return Fail(ErrorCode::kTooLarge, where + ": the answer is too large");
  if (code != CURLE_OK) {
    return Fail(CodeOf(code),
                where + ": " + (message[0] != '\0' ? message : curl_easy_strerror(code)));
  }
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  transfer.reply.status = static_cast<int>(status);
  const char* type = nullptr;
  curl_easy_getinfo(curl.get(), CURLINFO_CONTENT_TYPE, &type);
  if (type) transfer.reply.content_type = type;
  return std::move(transfer.reply);
}

}  // namespace hotpath::cli
