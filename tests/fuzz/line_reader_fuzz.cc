// Any bytes as a file with DWARF, read as the daemon reads them: by libdw, in the boxed child.
//
// libdw 0.188 reads past the end of some damaged sections. In the box that costs the file its
// lines; here it must be an error with a message, within the limit of time, and the next file must
// be read.
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "daemon/base/fd.h"
#include "daemon/files/file_worker.h"

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  hotpath::FileWorker::RunChildIfAsked(*argc, *argv);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static hotpath::FileWorker worker({.lines_timeout = std::chrono::seconds(1)});
  const hotpath::Fd memory(memfd_create("fuzz", MFD_CLOEXEC));
  if (write(memory.get(), data, size) != static_cast<ssize_t>(size)) return 0;
  std::vector<uint64_t> addresses;
  for (uint64_t address = 0x1000; address < 0x1400; address += 7) addresses.push_back(address);
  const auto lines = worker.Lines(memory.get(), -1, addresses);
  if (!lines) {
    if (lines.error().message.empty()) std::abort();
    return 0;
  }
  if (lines->size() != addresses.size()) std::abort();
  for (const auto& frames : *lines) {
    if (frames.size() > 129) std::abort();
  }
  return 0;
}
