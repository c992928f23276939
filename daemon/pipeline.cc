// Wiring of the parts, in the order in which a sample meets them.
#include "daemon/pipeline.h"

#include <fmt/format.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "bpf/abi.h"
#include "daemon/files/debug_files.h"

namespace hotpath {
namespace {

using namespace std::chrono_literals;

constexpr auto kIdlePoll = 1s;  // While only the always-on session fills the ring.
constexpr auto kCapturePoll = 200ms;
constexpr auto kCoolEvery = 1min;
constexpr auto kFilesPatience = 3s;  // For files met at the end of a capture to get their names.
constexpr auto kWarmUp = 300ms;
constexpr size_t kSymbolCacheBytes = 8 << 20;

uint64_t MonotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

int64_t UnixNs() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// CPU seconds of all CPUs that were neither idle nor waiting nor stolen: /proc/stat's first line.
double KernelCpuSeconds() {
  std::ifstream stat("/proc/stat");
  std::string cpu;
  double user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0;
  if (!(stat >> cpu >> user >> nice >> system >> idle >> iowait >> irq >> softirq)) return -1;
  return (user + nice + system + irq + softirq) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Every sampled file keeps a descriptor, so that its deletion costs no names.
void RaiseFileLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// The dynamic loader and libc hold the first frames of a process and of its threads too.
bool IsRuntime(const std::string& path) {
  const std::string_view name = std::string_view(path).substr(path.rfind('/') + 1);
  return name.starts_with("ld-") || name.starts_with("libc.so") || name.starts_with("libc-");
}

// Of a type whose period the kernel side chooses as it goes: what its samples stood for.
void SetMeanPeriod(Window& window) {
  if (window.type.period != 0) return;
  const auto values = std::ranges::find(window.type.measures, Measure::kValue);
  const auto at = static_cast<size_t>(values - window.type.measures.begin());
  uint64_t samples = 0;
  int64_t sum = 0;
  for (const WindowRow& row : window.rows) {
    samples += row.samples;
    sum += at < row.values.size() ? row.values[at] : 0;
  }
  window.type.period = samples == 0 ? 1 : std::max<int64_t>(1, sum / static_cast<int64_t>(samples));
}

void NameThread(const char* name) { pthread_setname_np(pthread_self(), name); }

}  // namespace

Result<std::unique_ptr<Pipeline>> Pipeline::Start(const Settings& settings) {
  RaiseFileLimit();
  std::unique_ptr<Pipeline> pipeline(new Pipeline(settings));
  Result<std::unique_ptr<KernelSide>> kernel =
      KernelSide::Load({.ring_bytes = settings.ring_bytes, .max_files = settings.max_files});
  if (!kernel) return std::unexpected(kernel.error());
  pipeline->kernel_ = std::move(*kernel);

  Result<std::unique_ptr<TableLoader>> tables =
      TableLoader::Open({.file_infos = pipeline->kernel_->file_infos_fd(),
                         .rules = pipeline->kernel_->rules_fd(),
                         .tables = pipeline->kernel_->tables_fd()},
                        &pipeline->slots_, pipeline->memory_governor_.Step({}).table_cap_bytes);
  if (!tables) return std::unexpected(tables.error());
  pipeline->tables_ = std::move(*tables);
  pipeline->worker_ = std::make_unique<FileWorker>();
  FileRegistry::Options files;
  files.cache_dir = settings.state_dir;
  files.find_debug = [finder = DebugFileFinder()](const FileIndex& facts, const std::string& path,
                                                  FileWorker& worker) {
    return finder.Find(facts, path, [&worker](int fd) { return worker.Describe(fd); });
  };
  pipeline->registry_ =
      std::make_unique<FileRegistry>(files, pipeline->worker_.get(), pipeline->tables_.get());
  pipeline->recycler_ = std::make_unique<IdRecycler>(
      IdRecycler::Kernel{
          .files_fd = pipeline->kernel_->files_fd(),
          .free_file_ids_fd = pipeline->kernel_->free_file_ids_fd(),
          .file_requests_fd = pipeline->kernel_->file_requests_fd(),
          .max_files = pipeline->kernel_->max_files(),
          .files_numbered = [side = pipeline->kernel_.get()] { return side->files_numbered(); },
          .forget_mappings = [side = pipeline->kernel_.get()] { side->ForgetMappings(); }},
      &pipeline->slots_);
  pipeline->kernel_symbols_ = std::make_unique<KernelSymbolizer>();
  pipeline->perf_maps_ = std::make_unique<PerfMaps>();
  pipeline->elf_symbolizer_ = std::make_unique<ElfSymbolizer>(
      pipeline->registry_.get(), pipeline->kernel_symbols_.get(), pipeline->perf_maps_.get());
  pipeline->symbolizer_ =
      std::make_unique<CachingSymbolizer>(pipeline->elf_symbolizer_.get(), kSymbolCacheBytes);
  pipeline->processes_ = std::make_unique<ProcessTable>(ProcessTable::Options());

  Result<std::unique_ptr<RingReader>> reader =
      RingReader::Open(pipeline->kernel_->events_fd(), pipeline.get(), &pipeline->slots_);
  if (!reader) return std::unexpected(reader.error());
  pipeline->reader_ = std::move(*reader);
  pipeline->sampler_ = std::make_unique<CpuSampler>(pipeline->kernel_.get());
  pipeline->sources_.at(static_cast<size_t>(TypeId::kMemoryGrowth)) = {
      .sampling = std::make_unique<FaultSampler>(pipeline->kernel_.get()),
      .session = FaultSampler::kSession};
  pipeline->reader_thread_ = std::thread([self = pipeline.get()] { self->RunReader(); });
  pipeline->files_thread_ = std::thread([self = pipeline.get()] { self->RunFiles(); });
  auto allocs = std::make_unique<AllocCaptures>(pipeline->kernel_.get(), settings.allocs_allowed);
  pipeline->allocs_ = allocs.get();
  pipeline->sources_.at(static_cast<size_t>(TypeId::kAllocs)) = {
      .sampling = std::move(allocs), .session = HP_SESSION_OF(HP_TYPE_ALLOCS)};
  if (Result<void> sampling = pipeline->StartSampling(); !sampling) {
    return std::unexpected(sampling.error());
  }
  return pipeline;
}

Pipeline::Pipeline(Settings settings)
    : settings_(std::move(settings)),
      cpu_governor_(settings_.cpu_budget_ratio, settings_.always_on_hz),
      memory_governor_(settings_.memory_limit_bytes, settings_.table_cap_bytes) {}

Pipeline::~Pipeline() {
  EndCaptures();
  stopping_ = true;
  new_files_.Close();
  if (reader_) reader_->Wake();
  if (reader_thread_.joinable()) reader_thread_.join();
  if (files_thread_.joinable()) files_thread_.join();
}

void Pipeline::EndCaptures() { end_captures_ = true; }

void Pipeline::RunReader() {
  NameThread("hotpath-reader");
  auto next_cool = std::chrono::steady_clock::now() + kCoolEvery;
  bool capturing = false;
  while (!stopping_) {
    slots_.SetNow(static_cast<uint32_t>(MonotonicNs() / 1'000'000'000));
    recycler_->BeforeRead();
    reader_->Poll(capturing ? kCapturePoll : kIdlePoll);
    recycler_->AfterRead();
    {
      std::lock_guard lock(round_mutex_);
      reader_rounds_++;
    }
    round_done_.notify_all();
    {
      std::lock_guard lock(mutex_);
      sampler_->Tick();
      for (Source& source : sources_) {
        if (source.sampling) source.sampling->Tick(BudgetShare());
      }
      capturing = !captures_.empty();
    }
    worker_->EndIdleChildren();
    Govern();
    if (std::chrono::steady_clock::now() >= next_cool) {
      next_cool += kCoolEvery;
      slots_.Cool();
      std::lock_guard lock(mutex_);
      busy_.Halve();
    }
  }
}

void Pipeline::OnSample(const Sample& sample) {
  samples_read_++;
  std::lock_guard lock(mutex_);
  if (sample.type == TypeId::kCpu) busy_.Add(sample);
  for (OpenCapture* capture : captures_) {
    capture->Offer(sample, [&](const Sample& s) {
      return processes_->Find(s.process, s.process_name).value_or(ProcessFacts());
    });
  }
}

void Pipeline::OnFile(const FileSighting& file) {
  {
    std::lock_guard lock(round_mutex_);
    if (!files_waiting_.insert(file.id).second) return;
  }
  const bool queued = new_files_.TryPush({.id = file.id,
                                          .key = {.inode = file.inode,
                                                  .ctime_ns = file.ctime_ns,
                                                  .device = file.device,
                                                  .generation = file.generation},
                                          .vma_start = file.vma_start,
                                          .vma_end = file.vma_end,
                                          .pid = file.pid,
                                          .path = file.path,
                                          .slot = file.slot});
  if (queued) return;
  files_dropped_++;  // Its next sighting is asked for again by the kernel side.
  std::lock_guard lock(round_mutex_);
  files_waiting_.erase(file.id);
}

void Pipeline::RunFiles() {
  NameThread("hotpath-files");
  if (Result<void> vdso = registry_->AddVdso(); !vdso) {
    spdlog::warn("vDSO: {}", vdso.error().message);
  }
  while (!stopping_) {
    RecycleFileIds();
    tables_->EvictToCap();
    std::optional<NewFile> file = new_files_.Pop(1s);
    if (!file) continue;
    const auto begin = std::chrono::steady_clock::now();
    // A sighting that came while its slot was being taken away is of no more use.
    if (slots_.Holds(file->slot, file->id)) {
      tables_->Bind(file->id, file->slot);
      (void)registry_->Add(*file);  // Errors are counted and logged by the registry.
    }
    {
      std::lock_guard lock(round_mutex_);
      files_waiting_.erase(file->id);
    }
    round_done_.notify_all();
    PauseBetweenFiles(std::chrono::steady_clock::now() - begin);
  }
}

void Pipeline::RecycleFileIds() {
  registry_->DropForgotten();
  const std::vector<FileId> losers = recycler_->TakeBack([this](FileId id) {
    std::lock_guard lock(round_mutex_);
    return files_waiting_.contains(id);
  });
  if (losers.empty()) return;
  for (const FileId id : losers) tables_->Release(id);
  registry_->Forget(losers);
  recycler_->Release();
  reader_->Wake();
}

void Pipeline::WarmUp(const CaptureFilter& filter) {
  CaptureRequest request;
  request.filter = filter;
  request.hz = 999;
  request.duration = kWarmUp;
  (void)Capture(request, end_captures_);  // Its samples are not wanted, its errors come again.
}

Result<void> Pipeline::Ready() const {
  std::lock_guard lock(mutex_);
  if (stopping_ || end_captures_) return Fail(ErrorCode::kUnavailable, "stopping");
  return {};
}

void Pipeline::DrainRing() {
  std::unique_lock lock(round_mutex_);
  // A round under way may have passed a CPU's records already: wait for one that begins now.
  const uint64_t target = reader_rounds_ + 2;
  while (reader_rounds_ < target && !stopping_) {
    reader_->Wake();
    round_done_.wait_for(lock, 20ms);
  }
}

void Pipeline::DrainFiles() {
  std::unique_lock lock(round_mutex_);
  round_done_.wait_for(lock, kFilesPatience,
                       [&] { return files_waiting_.empty() || stopping_ || end_captures_; });
}

uint64_t Pipeline::WaitForEnd(const CaptureRequest& request, const std::atomic<bool>& cancelled,
                              uint64_t begin_ns) const {
  const auto stop = [&] { return cancelled.load() || end_captures_.load() || stopping_.load(); };
  const uint64_t wanted_end_ns = begin_ns + static_cast<uint64_t>(request.duration.count());
  while (!stop() && MonotonicNs() < wanted_end_ns) {
    const uint64_t left = wanted_end_ns - std::min(wanted_end_ns, MonotonicNs());
    std::this_thread::sleep_for(
        std::min<std::chrono::nanoseconds>(std::chrono::nanoseconds(left), 50ms));
  }
  return std::min(MonotonicNs(), wanted_end_ns);
}

Result<std::unique_ptr<Window>> Pipeline::Capture(const CaptureRequest& request,
                                                  const std::atomic<bool>& cancelled) {
  if (request.hz < 1 || request.hz > 999) {
    return Fail(ErrorCode::kInvalidArgument, "hz: expected a rate of 1 to 999");
  }
  std::unique_lock lock(mutex_);
  Result<OpenCapture> opened = OpenCapture::Open(request, 0, 0);
  if (!opened) return std::unexpected(opened.error());
  const TypeId type = opened->type();
  if (refuse_captures_) {
    refused_captures_++;
    return Fail(ErrorCode::kBusy,
                fmt::format("over the memory limit: {} of {} MiB are in use; try again later, or "
                            "give hotpathd a larger --memory-limit",
                            memory_bytes_ >> 20, settings_.memory_limit_bytes >> 20));
  }
  std::unique_ptr<AllocSession> allocs;
  if (type == TypeId::kAllocs) {
    lock.unlock();
    Result<std::unique_ptr<AllocSession>> begun = BeginAllocs(request);
    if (!begun) return std::unexpected(begun.error());
    allocs = std::move(*begun);
    lock.lock();
  }
  std::shared_ptr<const void> pin = registry_->Pin();
  const int64_t start_unix_ns = UnixNs();
  const double cpu_seconds_before = KernelCpuSeconds();
  Result<SessionRef> session = AcquireSession(request, type);
  if (!session) {
    if (allocs) {
      allocs.reset();
      allocs_->End({}, 0);
    }
    return std::unexpected(session.error());
  }
  const SessionCounters before = Counters(*session);
  const uint64_t begin_ns = MonotonicNs();
  OpenCapture capture = *OpenCapture::Open(request, session->number, begin_ns);
  captures_.push_back(&capture);
  lock.unlock();
  reader_->Wake();  // From now on it comes more often.
  if (request.on_started) request.on_started();

  const uint64_t end_ns = allocs ? RunAllocs(*allocs, request, cancelled, begin_ns)
                                 : WaitForEnd(request, cancelled, begin_ns);
  const double cpu_seconds_after = KernelCpuSeconds();
  lock.lock();
  capture.SetEnd(end_ns);
  const SessionCounters after = Counters(*session);
  lock.unlock();
  // The tick that ends after the capture stands for its last part too.
  if (type == TypeId::kCpu && !cancelled && !end_captures_ && !stopping_) {
    std::this_thread::sleep_for(std::chrono::nanoseconds(1'300'000'000 / request.hz));
  }
  lock.lock();
  ReleaseSession(*session);
  lock.unlock();
  DrainRing();
  lock.lock();
  std::erase(captures_, &capture);
  std::unique_ptr<Window> window = capture.Close();
  constexpr auto kOurs = static_cast<size_t>(Loss::kMemoryLimit);
  (type == TypeId::kCpu ? ended_ : sources_.at(static_cast<size_t>(type)).ended).lost.at(kOurs) +=
      window->lost.at(kOurs);
  lock.unlock();
  DrainFiles();
  window->files = std::move(pin);
  window->start_unix_ns = start_unix_ns;
  window->duration_ns = static_cast<int64_t>(end_ns - begin_ns);
  for (size_t i = 0; i < kLosses; i++) {
    window->lost.at(i) += after.lost.at(i) - before.lost.at(i);
  }
  if (allocs) {
    allocs->Weigh(capture.unweighed(), *window);
    DropAllocatorFrames(*window);
    const WindowTotals totals = allocs->totals();
    const double trap_ns = allocs->trap_ns();
    allocs.reset();
    allocs_->End(totals, trap_ns);
  }
  // The kernel's account is of the whole machine.
  const bool accounted = cpu_seconds_before >= 0 && cpu_seconds_after >= 0;
  if (type == TypeId::kCpu && !window->filtered && accounted) {
    window->cpu_seconds_kernel = cpu_seconds_after - cpu_seconds_before;
  }
  SetMeanPeriod(*window);
  NameExecutables(*window);
  return window;
}

void Pipeline::NameExecutables(Window& window) const {
  for (const WindowRow& row : window.rows) {
    ProcessFacts& facts = window.processes[window.owners.at(row.owner).process];
    if (!facts.exe.empty() || row.walk_end != WalkEnd::kComplete) continue;
    const std::span<const Frame> frames = window.stacks.Frames(row.stack);
    if (frames.empty() || frames.back().kind() != FrameKind::kFile) continue;
    const auto file = registry_->Find(frames.back().file());
    if (file && !IsRuntime(file->path)) facts.exe = file->path;
  }
}

}  // namespace hotpath
