// Decoding of ring buffer records; bpf/abi.h is the format.
#include "daemon/collect/ring_reader.h"

#include <bpf/libbpf.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "bpf/abi.h"

namespace hotpath {
namespace {

static_assert(FileSlots::kCount == HP_MAX_FILES);
static_assert(static_cast<uint64_t>(FrameKind::kFile) == HP_FRAME_FILE);
static_assert(static_cast<uint64_t>(FrameKind::kAnonymous) == HP_FRAME_ANON);
static_assert(static_cast<uint64_t>(FrameKind::kSynthetic) == HP_FRAME_SYNTHETIC);
static_assert(static_cast<uint64_t>(FrameKind::kKernel) == HP_FRAME_KERNEL);
static_assert(static_cast<int>(WalkEnd::kBadReturn) == HP_WALK_BAD_RETURN);
static_assert(static_cast<int>(TypeId::kMemoryGrowth) == HP_TYPE_MEMORY_GROWTH);
static_assert(kTypes == HP_TYPES);
static_assert(static_cast<int>(Loss::kBusy) == HP_LOSS_BUSY);

std::string_view FixedText(const char* text, size_t bytes) { return {text, strnlen(text, bytes)}; }

}  // namespace

std::string PathFromComponents(std::string_view components) {
  std::string path;
  while (!components.empty()) {
    const size_t end = components.find('\0');
    const std::string_view component = components.substr(0, end);
    if (!component.empty()) path.insert(0, "/" + std::string(component));
    if (end == std::string_view::npos) break;
    components.remove_prefix(end + 1);
  }
  return path;
}

Result<std::unique_ptr<RingReader>> RingReader::Open(int ring_fd, RingSink* sink,
                                                     FileSlots* slots) {
  std::unique_ptr<RingReader> reader(new RingReader);
  reader->sink_ = sink;
  reader->slots_ = slots;
  reader->ring_ = ring_buffer__new(ring_fd, &RingReader::OnRecord, reader.get(), nullptr);
  if (reader->ring_ == nullptr) return FailErrno("map the ring buffer");
  reader->wake_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  reader->epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  if (!reader->wake_ || !reader->epoll_) return FailErrno("create the reader's wake-up");
  for (const int fd : {ring_buffer__epoll_fd(reader->ring_), reader->wake_.get()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (epoll_ctl(reader->epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return FailErrno("watch the ring buffer");
    }
  }
  return reader;
}

RingReader::~RingReader() { ring_buffer__free(ring_); }

void RingReader::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
}

int RingReader::Poll(std::chrono::milliseconds timeout) {
  epoll_event events[2];
  epoll_wait(epoll_.get(), events, 2, static_cast<int>(timeout.count()));
  uint64_t wakes = 0;
  [[maybe_unused]] const ssize_t drained = read(wake_.get(), &wakes, sizeof(wakes));
  return std::max(0, ring_buffer__consume(ring_));
}

int RingReader::OnRecord(void* self, void* data, size_t bytes) {
  static_cast<RingReader*>(self)->Decode({static_cast<const std::byte*>(data), bytes});
  return 0;
}

void RingReader::Decode(std::span<const std::byte> record) {
  uint32_t kind = 0;
  if (record.size() >= sizeof(kind)) std::memcpy(&kind, record.data(), sizeof(kind));
  if (kind == HP_EVENT_SAMPLE && record.size() >= sizeof(hp_sample)) {
    DecodeSample(record);
  } else if (kind == HP_EVENT_NEW_FILE && record.size() >= sizeof(hp_new_file)) {
    DecodeFile(record);
  } else {
    malformed_++;
  }
}

void RingReader::DecodeSample(std::span<const std::byte> record) {
  hp_sample header{};
  std::memcpy(&header, record.data(), sizeof(header));
  const size_t frames = size_t{header.kernel_frames} + header.user_frames;
  if (record.size() < sizeof(header) + frames * sizeof(uint64_t) ||
      header.walk_end >= HP_WALK_ENDS || header.user_frames > HP_MAX_USER_FRAMES ||
      header.cut > HP_MAX_ROOT_FRAMES || header.session >= HP_MAX_SESSIONS ||
      header.type >= HP_TYPES) {
    malformed_++;
    return;
  }
  sample_.time_ns = header.time_ns;
  sample_.type = static_cast<TypeId>(header.type);
  sample_.value = header.value;
  sample_.bytes = header.bytes;
  sample_.parent_pid = header.parent_pid;
  sample_.process = {
      .pid = header.pid, .start_time_ns = header.start_time_ns, .exec_id = header.exec_id};
  sample_.tid = header.tid;
  sample_.cgroup_id = header.cgroup_id;
  sample_.cpu = header.cpu;
  sample_.session = header.session;
  sample_.walk_end = static_cast<WalkEnd>(header.walk_end);
  sample_.failed_file = slots_->Current(header.failed_file);
  sample_.comm = FixedText(header.comm, sizeof(header.comm));
  sample_.process_name = FixedText(header.process, sizeof(header.process));
  sample_.frames.resize(frames);
  std::memcpy(sample_.frames.data(), record.data() + sizeof(header), frames * sizeof(uint64_t));
  for (size_t i = 0; i < header.kernel_frames; i++) {
    sample_.frames[i] = Frame::Kernel(sample_.frames[i].bits);
  }
  for (size_t i = header.kernel_frames; i < frames; i++) {
    sample_.frames[i] = UserFrame(sample_.frames[i].bits);
  }
  const bool cut = header.cut > 0 && header.user_frames == HP_MAX_USER_FRAMES;
  if (cut && sample_.walk_end == WalkEnd::kFrameLimit) {
    // The walk did not reach the root: what the ring holds is a piece of the middle.
    sample_.frames.resize(frames - HP_MAX_ROOT_FRAMES);
    sample_.frames.push_back(TruncatedFrame(WalkEnd::kFrameLimit));
  } else if (cut) {
    // The root side is a ring: put its oldest frame first, and the cut before it.
    const auto root = sample_.frames.end() - HP_MAX_ROOT_FRAMES;
    std::rotate(root, root + (header.cut - 1), sample_.frames.end());
    sample_.frames.insert(sample_.frames.end() - HP_MAX_ROOT_FRAMES,
                          TruncatedFrame(WalkEnd::kFrameLimit));
  } else if (!WalkEndReason(sample_.walk_end).empty()) {
    sample_.frames.push_back(TruncatedFrame(sample_.walk_end));
  }
  sink_->OnSample(sample_);
}

Frame RingReader::UserFrame(uint64_t bits) {
  const Frame frame{bits};
  if (frame.kind() != FrameKind::kFile) return frame;
  const auto slot = static_cast<uint32_t>(bits >> HP_FRAME_FILE_SHIFT);
  const uint64_t offset = bits & HP_FRAME_OFFSET_MASK;
  slots_->NoteUse(slot);
  return Frame::File(offset <= Frame::kOffsetMask ? slots_->Current(slot) : FileId{0}, offset);
}

void RingReader::DecodeFile(std::span<const std::byte> record) {
  hp_new_file event{};
  std::memcpy(&event, record.data(), sizeof(event));
  const size_t bytes = std::min<size_t>(event.path_bytes, HP_PATH_LEN);
  sink_->OnFile({.id = slots_->Current(event.file_id),
                 .slot = event.file_id,
                 .inode = event.key.inode,
                 .ctime_ns = event.key.ctime_ns,
                 .device = event.key.device,
                 .generation = event.key.generation,
                 .vma_start = event.vma_start,
                 .vma_end = event.vma_end,
                 .pid = event.pid,
                 .path = PathFromComponents({event.path, bytes})});
}

}  // namespace hotpath
