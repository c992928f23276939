// Any bytes as Go's function table: bounded, and names inside it.
#include <cstdint>
#include <cstdlib>

#include "daemon/files/gopclntab.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto functions = hotpath::ParseGopclntab({data, size}, 0x401000);
  if (!functions) return 0;
  if (functions->size() > size) std::abort();
  const char* begin = reinterpret_cast<const char*>(data);
  for (const hotpath::GoFunction& function : *functions) {
    if (function.name.data() < begin || function.name.size() > size) std::abort();
    if (function.name.data() + function.name.size() > begin + size) std::abort();
  }
  return 0;
}
