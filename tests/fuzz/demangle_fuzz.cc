// Any bytes as a mangled name: no crash, no end of stack, a bounded answer.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "daemon/symbolize/demangle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view name(reinterpret_cast<const char*>(data), size);
  if (hotpath::Demangle(name).name.size() > hotpath::kMaxNameBytes + 4) std::abort();
  return 0;
}
