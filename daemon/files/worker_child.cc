// One request at a time: descriptors in, words, symbols or lines out through the parent's memfds.
#include "daemon/files/worker_child.h"

#include <elf.h>
#include <fmt/format.h>
#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <exception>
#include <list>
#include <new>

#include "daemon/files/place_probes.h"
#include "daemon/files/placement_codec.h"
#include "daemon/files/sandbox.h"
#include "daemon/files/symbol_index.h"
#include "daemon/files/worker_protocol.h"

namespace hotpath {
namespace {

constexpr size_t kMaxIdleBytes = size_t{64} << 20;     // Heap that is kept between requests.
constexpr size_t kMaxReaderBytes = size_t{256} << 20;  // The same, for one large file's DWARF.
constexpr size_t kMaxReaders = 4;

template <typename T>
std::span<uint8_t> BytesOf(T& object) {
  return {reinterpret_cast<uint8_t*>(&object), sizeof object};
}

std::span<const uint8_t> BytesOf(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

size_t HeapBytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// The text before the first NUL.
std::string FirstText(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), std::ranges::find(bytes, 0)};
}

// .gnu_debuglink: name, NUL, padding to 4, CRC-32. .gnu_debugaltlink: path, NUL, build ID.
void ReadLinks(const ElfFile& elf, FileIndex& facts) {
  if (const ElfSection* section = elf.FindSection(".gnu_debuglink")) {
    if (const auto bytes = elf.ReadSection(*section)) {
      facts.debug_link = FirstText(*bytes);
      const size_t crc_at = (facts.debug_link.size() + 4) & ~size_t{3};
      if (crc_at + sizeof facts.debug_link_crc <= bytes->size()) {
        std::memcpy(&facts.debug_link_crc, bytes->data() + crc_at, sizeof facts.debug_link_crc);
      }
    }
  }
  if (const ElfSection* section = elf.FindSection(".gnu_debugaltlink")) {
    if (const auto bytes = elf.ReadSection(*section)) {
      facts.alternate_link = FirstText(*bytes);
      const size_t id_at = facts.alternate_link.size() + 1;
      for (size_t i = id_at; i < std::min(bytes->size(), id_at + 64); ++i) {
        facts.alternate_build_id += fmt::format("{:02x}", (*bytes)[i]);
      }
    }
  }
}

bool HasDebugInfo(const ElfFile& elf) {
  for (const char* name : {".debug_info", ".zdebug_info"}) {
    const ElfSection* section = elf.FindSection(name);
    if (section != nullptr && section->type != SHT_NOBITS && section->bytes > 0) return true;
  }
  return false;
}

FileIndex FactsOf(const ElfFile& elf) {
  FileIndex facts;
  facts.build_id = elf.build_id();
  facts.segments = elf.segments();
  facts.table_source = "none";
  facts.has_debug_info = HasDebugInfo(elf);
  ReadLinks(elf, facts);
  return facts;
}

// A file whose DWARF is open. Readers are borrowed descriptors' users, so it owns those too.
struct OpenReader {
  struct stat file{}, alternate{};
  Fd file_fd, alternate_fd;
  std::unique_ptr<LineReader> reader;
};

bool SameFile(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_size == b.st_size &&
         a.st_ctim.tv_sec == b.st_ctim.tv_sec && a.st_ctim.tv_nsec == b.st_ctim.tv_nsec;
}

class Child {
 public:
  // Answers one request. The reply's sizes are those of what lies in the memfds.
  Result<void> Serve(const WorkerRequest& request, std::vector<Fd> fds, WorkerReply& reply) {
    const bool index = request.kind == WorkerRequestKind::kIndex;
    const bool lines = request.kind == WorkerRequestKind::kLines;
    const size_t needed = index ? 4 : lines ? 3 : 2;
    if (fds.size() < needed) return Fail(ErrorCode::kInvalidArgument, "descriptors are missing");
    if (lines) return Lines(request, std::move(fds), reply);
    if (request.kind == WorkerRequestKind::kPlace) return Place(fds, reply);
    return Index(request, fds, reply);
  }

  // Gives memory back after a request. True when too much stays: the child should leave.
  bool ShrinkAndTellWhetherToLeave() {
    while (readers_.size() > 1 && HeapBytes() > kMaxIdleBytes) readers_.pop_back();
    if (HeapBytes() > kMaxReaderBytes) readers_.clear();
    malloc_trim(0);
    const size_t allowed = readers_.empty() ? kMaxIdleBytes : kMaxReaderBytes;
    const struct mallinfo2 info = mallinfo2();
    return info.arena + info.hblkhd > allowed;
  }

 private:
  static Result<void> Index(const WorkerRequest& request, const std::vector<Fd>& fds,
                            WorkerReply& reply) {
    auto elf = ElfFile::Open(fds[0].get());
    if (!elf) return std::unexpected(elf.error());
    FileIndex facts = FactsOf(*elf);
    if (request.kind == WorkerRequestKind::kIndex) {
      std::vector<FunctionRange> functions;
      if (auto done = Table(*elf, fds[2].get(), facts, functions, reply); !done) return done;
      if (request.want_symbols != 0) {
        const int debug_fd = fds.size() > 4 ? fds[4].get() : -1;
        if (auto done = Symbols(*elf, debug_fd, fds[3].get(), facts, functions, reply); !done) {
          return done;
        }
      }
    }
    const std::string encoded = EncodeFacts(facts);
    reply.main_bytes = encoded.size();
    return WriteAll(fds[1].get(), BytesOf(encoded));
  }

  static Result<void> Place(const std::vector<Fd>& fds, WorkerReply& reply) {
    auto elf = ElfFile::Open(fds[0].get());
    if (!elf) return std::unexpected(elf.error());
    const auto placement = PlaceProbes(*elf);
    if (!placement) return std::unexpected(placement.error());
    const std::string encoded = EncodePlacement(*placement);
    if (encoded.size() > kMaxPlacementBytes) return Fail(ErrorCode::kTooLarge, "too many names");
    reply.main_bytes = encoded.size();
    return WriteAll(fds[1].get(), BytesOf(encoded));
  }

  // A table that cannot be built is a fact of the file: its names are still worth having.
  static Result<void> Table(const ElfFile& elf, int words_fd, FileIndex& facts,
                            std::vector<FunctionRange>& functions, WorkerReply& reply) {
    auto table = UnwindTable::FromElf(elf);
    if (!table) {
      facts.table_failure = table.error().message;
      return {};
    }
    facts.table_source = table->source();
    facts.damaged = table->damaged();
    functions.assign(table->functions().begin(), table->functions().end());
    if (table->rows().empty() || facts.table_source == "none") {
      facts.table_source = "none";
      return {};
    }
    facts.rules.assign(table->rules().begin(), table->rules().end());
    const UnwindTable::Words words = table->ToWords();
    facts.info = words.info;
    reply.words_bytes = words.words.size() * sizeof(uint32_t);
    return WriteAll(words_fd, {reinterpret_cast<const uint8_t*>(words.words.data()),
                               words.words.size() * sizeof(uint32_t)});
  }

  static Result<void> Symbols(const ElfFile& elf, int debug_fd, int symbols_fd, FileIndex& facts,
                              std::span<const FunctionRange> functions, WorkerReply& reply) {
    // A debug file that cannot be read costs its own names only.
    auto debug = debug_fd < 0 ? Fail(ErrorCode::kNotFound, "") : ElfFile::Open(debug_fd);
    const auto bytes = BuildSymbolIndex(elf, debug ? &*debug : nullptr, functions);
    if (!bytes) {
      facts.symbol_failure = bytes.error().message;
      return {};
    }
    reply.symbol_bytes = bytes->size();
    return WriteAll(symbols_fd, BytesOf(*bytes));
  }

  Result<void> Lines(const WorkerRequest& request, std::vector<Fd> fds, WorkerReply& reply) {
    if (request.address_count > kMaxLineAddresses) {
      return Fail(ErrorCode::kInvalidArgument, "too many addresses");
    }
    std::vector<uint64_t> addresses(request.address_count);
    if (auto done = ReadAll(fds[1].get(), {reinterpret_cast<uint8_t*>(addresses.data()),
                                           addresses.size() * sizeof(uint64_t)});
        !done) {
      return done;
    }
    const Fd lines_fd = std::move(fds[2]);
    auto reader = Reader(std::move(fds[0]), fds.size() > 3 ? std::move(fds[3]) : Fd());
    if (!reader) return std::unexpected(reader.error());
    std::vector<std::vector<SourceLine>> lines;
    lines.reserve(addresses.size());
    for (const uint64_t address : addresses) lines.push_back((*reader)->Find(address));
    const std::string encoded = EncodeLines(lines);
    if (encoded.size() > kMaxLinesBytes) return Fail(ErrorCode::kTooLarge, "too many lines");
    reply.main_bytes = encoded.size();
    return WriteAll(lines_fd.get(), BytesOf(encoded));
  }

  // The file's reader, kept from an earlier request or opened now.
  Result<LineReader*> Reader(Fd file, Fd alternate) {
    OpenReader wanted;
    if (fstat(file.get(), &wanted.file) != 0) return FailErrno("fstat");
    if (alternate && fstat(alternate.get(), &wanted.alternate) != 0) return FailErrno("fstat");
    for (auto it = readers_.begin(); it != readers_.end(); ++it) {
      if (!SameFile(it->file, wanted.file) || !SameFile(it->alternate, wanted.alternate)) continue;
      readers_.splice(readers_.begin(), readers_, it);
      return readers_.front().reader.get();
    }
    while (readers_.size() >= kMaxReaders) readers_.pop_back();
    auto reader = LineReader::Open(file.get(), alternate.get());
    if (!reader) return std::unexpected(reader.error());
    wanted.file_fd = std::move(file);
    wanted.alternate_fd = std::move(alternate);
    wanted.reader = std::move(*reader);
    readers_.push_front(std::move(wanted));
    return readers_.front().reader.get();
  }

  std::list<OpenReader> readers_;  // Most recently used first.
};

void Describe(const Error& error, WorkerReply& reply) {
  reply.failed = 1;
  reply.code = static_cast<uint32_t>(error.code);
  const size_t bytes = std::min(error.message.size(), sizeof reply.message - 1);
  std::memcpy(reply.message, error.message.data(), bytes);
  reply.message[bytes] = '\0';
}

void Converse() {
  Child child;
  for (;;) {
    pollfd wait{kWorkerSocket, POLLIN, 0};
    const auto idle = std::chrono::duration_cast<std::chrono::milliseconds>(kChildIdle);
    const int ready = poll(&wait, 1, static_cast<int>(idle.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return;
    WorkerRequest request;
    auto fds = ReceiveDatagram(kWorkerSocket, BytesOf(request));
    if (!fds) return;
    alarm(static_cast<unsigned>(std::min<uint64_t>(request.limit_seconds, 3'600)));
    WorkerReply reply;
    try {
      if (auto served = child.Serve(request, std::move(*fds), reply); !served) {
        Describe(served.error(), reply);
      }
    } catch (const std::bad_alloc&) {
      Describe({ErrorCode::kTooLarge, "it needs more memory than the limit"}, reply);
      reply.leaving = 1;
    } catch (const std::exception& error) {
      Describe({ErrorCode::kMalformed, error.what()}, reply);
    }
    if (child.ShrinkAndTellWhetherToLeave()) reply.leaving = 1;
    alarm(0);
    if (!SendDatagram(kWorkerSocket, BytesOf(reply), {}) || reply.leaving != 0) return;
  }
}

}  // namespace

void RunWorkerChild() {
  int type = 0;
  socklen_t bytes = sizeof type;
  if (getsockopt(kWorkerSocket, SOL_SOCKET, SO_TYPE, &type, &bytes) != 0 ||
      type != SOCK_SEQPACKET) {
    _exit(2);  // Started by hand.
  }
  std::signal(SIGXFSZ, SIG_IGN);  // Past RLIMIT_FSIZE a write shall fail, not kill.
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 256 << 10);  // Large blocks go back to the kernel when freed.
  mallopt(M_TRIM_THRESHOLD, 1 << 20);
  WorkerHello hello;
  if (!CloseOtherDescriptors(kWorkerSocket) || !ReceiveDatagram(kWorkerSocket, BytesOf(hello))) {
    _exit(2);
  }
  if (auto boxed = EnterSandbox({hello.memory_bytes, hello.output_bytes}); !boxed) {
    WorkerReply reply;
    Describe({ErrorCode::kSystem, "enter the sandbox: " + boxed.error().message}, reply);
    _exit(SendDatagram(kWorkerSocket, BytesOf(reply), {}) ? 1 : 2);
  }
  Converse();
  _exit(0);
}

}  // namespace hotpath
