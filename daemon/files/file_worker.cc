// The parent's side: makes the memfds, asks a child, seals and checks what came back.
#include "daemon/files/file_worker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstring>
#include <thread>
#include <utility>

#include "daemon/files/placement_codec.h"
#include "daemon/files/worker_child.h"
#include "daemon/files/worker_process.h"
#include "daemon/files/worker_protocol.h"

namespace hotpath {
namespace {

constexpr unsigned kNoExecSeal = 0x8;  // MFD_NOEXEC_SEAL, Linux 6.3; sysctl vm.memfd_noexec.

constexpr int kSealTries = 20;
constexpr std::chrono::milliseconds kSealPause{25};

Result<Fd> Memfd(const char* name) {
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | kNoExecSeal);
  if (fd < 0 && errno == EINVAL) fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return FailErrno(fmt::format("memfd_create {}", name));
  return Fd(fd);
}

// From here on nobody changes the memfd, the child's copies of the descriptor included.
// Errors: kMalformed when it is not `bytes` long; kTooLarge past `limit`.
Result<void> SealOutput(int fd, uint64_t bytes, uint64_t limit) {
  // EBUSY while the kernel still holds a page just written, as on a loaded machine.
  for (int tries = 0;
       fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0;
       tries++) {
    if (errno != EBUSY || tries == kSealTries) return FailErrno("seal the file worker's output");
    std::this_thread::sleep_for(kSealPause);
  }
  struct stat status{};
  if (fstat(fd, &status) != 0) return FailErrno("fstat the file worker's output");
  if (static_cast<uint64_t>(status.st_size) != bytes) {
    return Fail(
        ErrorCode::kMalformed,
        fmt::format("file worker's answer: {} bytes where it says {}", status.st_size, bytes));
  }
  if (bytes > limit) return Fail(ErrorCode::kTooLarge, "file worker's answer is too large");
  return {};
}

Result<std::vector<uint8_t>> ReadSealed(int fd, uint64_t bytes, uint64_t limit) {
  if (auto sealed = SealOutput(fd, bytes, limit); !sealed) return std::unexpected(sealed.error());
  std::vector<uint8_t> content(bytes);
  if (auto read = ReadAll(fd, content); !read) return std::unexpected(read.error());
  return content;
}

Result<FileIndex> ReadFacts(int fd, uint64_t bytes) {
  const auto content = ReadSealed(fd, bytes, kMaxFactsBytes);
  if (!content) return std::unexpected(content.error());
  return DecodeFacts(*content);
}

Result<std::vector<std::vector<SourceLine>>> ReadLines(int fd, uint64_t bytes, size_t addresses) {
  const auto content = ReadSealed(fd, bytes, kMaxLinesBytes);
  if (!content) return std::unexpected(content.error());
  return DecodeLines(*content, addresses);
}

Result<Placement> ReadPlacement(int fd, uint64_t bytes) {
  const auto content = ReadSealed(fd, bytes, kMaxPlacementBytes);
  if (!content) return std::unexpected(content.error());
  return DecodePlacement(*content);
}

Result<void> CheckSealedWords(int fd, uint64_t bytes, FileIndex& index) {
  if (auto sealed = SealOutput(fd, bytes, kMaxWordsBytes); !sealed) return sealed;
  if (bytes % sizeof(uint32_t) != 0) return Fail(ErrorCode::kMalformed, "half a word");
  if (bytes == 0) return CheckWords({}, index);
  // Sealed against shrinking, so that reading it cannot fault.
  void* at = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return FailErrno("map the file worker's words");
  auto checked = CheckWords({static_cast<const uint32_t*>(at), bytes / sizeof(uint32_t)}, index);
  munmap(at, bytes);
  return checked;
}

}  // namespace

struct FileWorker::Impl {
  Impl(WorkerLimits worker_limits, std::string program)
      : limits(worker_limits),
        indexer(program, Hello(worker_limits), &counters),
        line_reader(std::move(program), Hello(worker_limits), &counters) {}

  static WorkerHello Hello(const WorkerLimits& limits) {
    return {limits.memory_bytes, limits.memory_bytes / 2};
  }

  const WorkerLimits limits;
  WorkerCounters counters;
  WorkerProcess indexer;
  WorkerProcess line_reader;
};

FileWorker::FileWorker(WorkerLimits limits, std::string program)
    : impl_(std::make_unique<Impl>(limits, std::move(program))) {}
FileWorker::~FileWorker() = default;

Result<FileIndex> FileWorker::Describe(int fd) {
  const auto facts = Memfd("hotpath-facts");
  if (!facts) return std::unexpected(facts.error());
  const int fds[] = {fd, facts->get()};
  const auto reply = impl_->indexer.Exchange({.kind = WorkerRequestKind::kDescribe}, fds,
                                             impl_->limits.index_timeout);
  if (!reply) return std::unexpected(reply.error());
  return impl_->indexer.Trust(ReadFacts(facts->get(), reply->main_bytes));
}

Result<FileIndex> FileWorker::Index(int fd, int debug_fd, bool want_symbols) {
  const auto facts = Memfd("hotpath-facts");
  auto words = Memfd("hotpath-words");
  auto symbols = Memfd("hotpath-symbols");
  for (const Result<Fd>* made : {&facts, &std::as_const(words), &std::as_const(symbols)}) {
    if (!*made) return std::unexpected(made->error());
  }
  const int all[] = {fd, facts->get(), words->get(), symbols->get(), debug_fd};
  const WorkerRequest request{.kind = WorkerRequestKind::kIndex,
                              .want_symbols = want_symbols ? 1U : 0U};
  const auto reply = impl_->indexer.Exchange(request, std::span(all).first(debug_fd < 0 ? 4 : 5),
                                             impl_->limits.index_timeout);
  if (!reply) return std::unexpected(reply.error());
  auto index = ReadFacts(facts->get(), reply->main_bytes);
  Result<void> held;
  if (index) held = CheckSealedWords(words->get(), reply->words_bytes, *index);
  if (index && held) {
    held = SealOutput(symbols->get(), reply->symbol_bytes, impl_->limits.memory_bytes);
  }
  if (!held) index = std::unexpected(held.error());
  if (index) {
    index->words = std::move(*words);
    index->symbols = std::move(*symbols);
    index->symbol_bytes = reply->symbol_bytes;
  }
  return impl_->indexer.Trust(std::move(index));
}

Result<std::vector<std::vector<SourceLine>>> FileWorker::Lines(
    int fd, int alternate_fd, std::span<const uint64_t> addresses) {
  if (addresses.empty()) return std::vector<std::vector<SourceLine>>{};
  if (addresses.size() > kMaxLineAddresses) {
    return Fail(ErrorCode::kInvalidArgument, "too many addresses in one request for lines");
  }
  const auto asked = Memfd("hotpath-addresses");
  const auto lines = Memfd("hotpath-lines");
  for (const Result<Fd>* made : {&asked, &lines}) {
    if (!*made) return std::unexpected(made->error());
  }
  if (auto wrote = WriteAll(asked->get(), {reinterpret_cast<const uint8_t*>(addresses.data()),
                                           addresses.size_bytes()});
      !wrote) {
    return std::unexpected(wrote.error());
  }
  const int all[] = {fd, asked->get(), lines->get(), alternate_fd};
  const WorkerRequest request{.kind = WorkerRequestKind::kLines, .address_count = addresses.size()};
  const auto reply = impl_->line_reader.Exchange(
      request, std::span(all).first(alternate_fd < 0 ? 3 : 4), impl_->limits.lines_timeout);
  if (!reply) return std::unexpected(reply.error());
  return impl_->line_reader.Trust(ReadLines(lines->get(), reply->main_bytes, addresses.size()));
}

Result<Placement> FileWorker::Place(int fd) {
  const auto placement = Memfd("hotpath-placement");
  if (!placement) return std::unexpected(placement.error());
  const int fds[] = {fd, placement->get()};
  const auto reply = impl_->indexer.Exchange({.kind = WorkerRequestKind::kPlace}, fds,
                                             impl_->limits.index_timeout);
  if (!reply) return std::unexpected(reply.error());
  return impl_->indexer.Trust(ReadPlacement(placement->get(), reply->main_bytes));
}

void FileWorker::EndIdleChildren() {
  impl_->indexer.EndIfIdle();
  impl_->line_reader.EndIfIdle();
}

uint64_t FileWorker::LiveCpuNs() const {
  return impl_->indexer.LiveCpuNs() + impl_->line_reader.LiveCpuNs();
}

uint64_t FileWorker::children_started() const { return impl_->counters.children_started; }
uint64_t FileWorker::children_died() const { return impl_->counters.children_died; }

void FileWorker::RunChildIfAsked(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], kChildArgument) == 0) RunWorkerChild();
}

}  // namespace hotpath
