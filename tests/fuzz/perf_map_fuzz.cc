// Any bytes as a perf map: bounded names, each valid UTF-8.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "daemon/base/utf8.h"
#include "daemon/symbolize/perf_map.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto map = hotpath::PerfMap::Parse({reinterpret_cast<const char*>(data), size});
  for (uint64_t address = 0; address < 0x4000; address += 13) {
    const auto entry = map.Find(address);
    if (!entry) continue;
    if (entry->name.empty() || !hotpath::IsUtf8(entry->name)) std::abort();
    if (entry->address > address) std::abort();
  }
  return 0;
}
