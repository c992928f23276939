// A child of the file worker that was taken over: it answers what it likes.
#pragma once

#include <unistd.h>

#include <cstring>
#include <span>
#include <string_view>

#include "daemon/files/worker_protocol.h"

namespace hotpath {

inline constexpr const char* kLyingWorker = "--lying-worker";

template <typename T>
std::span<uint8_t> RawBytes(T& object) {
  return {reinterpret_cast<uint8_t*>(&object), sizeof object};
}

// argv: --lying-worker LIE, where LIE is "size" (claims bytes that are not there), "short" (half a
// datagram), "text" (an error of no known code, with control characters) or "rest" (words without
// facts).
inline void RunLyingWorkerIfAsked(int argc, char** argv) {
  if (argc < 3 || std::strcmp(argv[1], kLyingWorker) != 0) return;
  const std::string_view lie = argv[2];
  WorkerHello hello;
  if (!ReceiveDatagram(kWorkerSocket, RawBytes(hello))) _exit(1);
  for (;;) {
    WorkerRequest request;
    auto fds = ReceiveDatagram(kWorkerSocket, RawBytes(request));
    if (!fds) _exit(0);
    WorkerReply reply;
    std::span<uint8_t> bytes = RawBytes(reply);
    if (lie == "size") reply.main_bytes = uint64_t{1} << 62;
    if (lie == "short") bytes = bytes.first(bytes.size() / 2);
    if (lie == "text") {
      reply.failed = 1;
      reply.code = 4'000'000'000;
      std::memset(reply.message, '\n', sizeof reply.message);
    }
    if (lie == "rest" && fds->size() > 2) {
      reply.words_bytes = 64;
      if (ftruncate((*fds)[2].get(), 64) != 0) _exit(1);
    }
    if (!SendDatagram(kWorkerSocket, bytes, {})) _exit(0);
  }
}

}  // namespace hotpath
