// Fuzzes what is read of a request beyond libmicrohttpd: target, parameters, Host.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "exporters/http/access.h"
#include "exporters/http/request_target.h"
#include "exporters/pprof/profile_query.h"

namespace {

void Require(bool promise) {
  if (!promise) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)hotpath::IsLoopbackHost(bytes);
  const auto target = hotpath::ParseRequestTarget(bytes);
  if (!target) return 0;
  Require(target->path.starts_with('/'));
  Require(target->path.find('\0') == std::string::npos);
  Require(target->query.size() <= 100);
  const auto query = hotpath::pprof::ParseProfileQuery(target->query);
  if (!query) {
    Require(!query.error().message.empty());
    return 0;
  }
  Require(query->request.hz >= 1 && query->request.hz <= 999);
  Require(query->request.duration >= std::chrono::seconds(1) &&
          query->request.duration <= std::chrono::hours(1));
  for (const uint32_t pid : query->request.filter.pids) Require(pid != 0);
  return 0;
}
