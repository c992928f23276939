// How long a window of many rows takes to be filled, to become the bytes of a profile, and to be
// read again; and how that grows as samples, processes and files grow tenfold.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "exporters/pprof/from_window.h"

namespace hotpath::pprof {
namespace {

constexpr int64_t kProcesses = 300;
constexpr int64_t kFiles = 60;
constexpr uint64_t kFunctions = 20'000;  // Of all files.
constexpr size_t kDepth = 30;

// Names from the frame's bits: what is measured is ours, not a symbol table.
class BenchSymbolizer : public Symbolizer {
 public:
  std::vector<SymbolizedFrame> Symbolize(const ProcessKey&,
                                         std::span<const Frame> frames) override {
    std::vector<SymbolizedFrame> named;
    named.reserve(frames.size());
    for (const Frame frame : frames) {
      const uint32_t file = frame.file().value;
      if (!mappings_[file]) {
        mappings_[file] = std::make_shared<MappingInfo>(
            MappingInfo{.file = fmt::format("/usr/lib/x86_64-linux-gnu/lib{}.so.1", file),
                        .build_id = fmt::format("{:040x}", file)});
      }
      named.push_back(
          {.address = frame.offset(),
           .mapping = mappings_[file],
           .named = true,
           .lines = {
               {.function = fmt::format("ns::Class{}::method", frame.offset() / 64),
                .system_function = fmt::format("_ZN2ns5Class{}6methodEv", frame.offset() / 64),
                .file = fmt::format("/usr/src/project/source{}.cc", frame.offset() / 4096),
                .line = static_cast<int64_t>(frame.offset() % 977)}}});
    }
    return named;
  }

 private:
  std::map<uint32_t, std::shared_ptr<MappingInfo>> mappings_;
};

// `rows` stacks, all different, of processes with two threads each.
std::vector<hotpath::Sample> BenchSamples(int64_t rows, int64_t processes, int64_t files) {
  std::vector<hotpath::Sample> samples;
  samples.reserve(static_cast<size_t>(rows));
  uint64_t random = 1;
  const auto next = [&](uint64_t bound) {
    random = random * 6364136223846793005 + 1442695040888963407;
    return (random >> 33) % bound;
  };
  for (int64_t row = 0; row < rows; ++row) {
    hotpath::Sample sample;
    sample.value = 10'101'010;
    const auto pid = static_cast<uint32_t>(1000 + next(static_cast<uint64_t>(processes)));
    sample.process = {.pid = pid, .start_time_ns = pid};
    sample.tid = pid + static_cast<uint32_t>(next(2));
    sample.comm = fmt::format("worker-{}", pid);
    sample.process_name = sample.comm;
    for (size_t i = 0; i < kDepth; ++i) {
      // Callers repeat more than leaves do, as in a call tree.
      const uint64_t function = next(kFunctions >> (i / 4));
      const auto file = static_cast<uint32_t>(1 + function % static_cast<uint64_t>(files));
      sample.frames.push_back(Frame::File({file}, function * 64 + next(i < 4 ? 8 : 2)));
    }
    samples.push_back(std::move(sample));
  }
  return samples;
}

std::unique_ptr<Window> BenchWindow(int64_t rows, int64_t processes = kProcesses,
                                    int64_t files = kFiles) {
  WindowBuilder builder(CpuProfileType(99));
  for (const hotpath::Sample& sample : BenchSamples(rows, processes, files)) builder.Add(sample);
  for (const SampleOwner& owner : builder.window().owners) {
    builder.window().processes[owner.process] = {
        .exe = fmt::format("/usr/lib/postgresql/15/bin/worker-{}", owner.process.pid),
        .cgroup =
            fmt::format("/system.slice/system-worker.slice/worker@{}.service", owner.process.pid),
        .uid = 1,
        .user = "postgres"};
  }
  return builder.Close();
}

const ProfileContext kContext{.host = "bench", .kernel = "6.1.0", .version = "0"};

void BM_WindowToGzip(benchmark::State& state) {
  const std::unique_ptr<Window> window =
      BenchWindow(state.range(0), state.range(1), state.range(2));
  size_t bytes = 0;
  for (auto _ : state) {
    BenchSymbolizer symbolizer;
    bytes = EncodeGzip(FromWindow(*window, symbolizer, kContext)).size();
  }
  state.counters["gzip_bytes"] = static_cast<double>(bytes);
}
BENCHMARK(BM_WindowToGzip)
    ->ArgNames({"samples", "processes", "files"})
    ->Args({1'000, kProcesses, kFiles})
    ->Args({10'000, kProcesses, kFiles})
    ->Args({100'000, kProcesses, kFiles})
    ->Args({100'000, 10 * kProcesses, kFiles})
    ->Args({100'000, kProcesses, 10 * kFiles})
    ->Unit(benchmark::kMillisecond);

// What the reader's thread does for each sample of an open capture.
void BM_WindowAdd(benchmark::State& state) {
  const std::vector<hotpath::Sample> samples =
      BenchSamples(state.range(0), state.range(1), state.range(2));
  for (auto _ : state) {
    WindowBuilder builder(CpuProfileType(99));
    for (const hotpath::Sample& sample : samples) builder.Add(sample);
    benchmark::DoNotOptimize(builder.Close());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_WindowAdd)
    ->ArgNames({"samples", "processes", "files"})
    ->Args({10'000, kProcesses, kFiles})
    ->Args({100'000, kProcesses, kFiles})
    ->Args({100'000, 10 * kProcesses, kFiles})
    ->Args({100'000, kProcesses, 10 * kFiles})
    ->Unit(benchmark::kMillisecond);

void BM_FromWindow(benchmark::State& state) {
  const std::unique_ptr<Window> window = BenchWindow(state.range(0));
  for (auto _ : state) {
    BenchSymbolizer symbolizer;
    benchmark::DoNotOptimize(FromWindow(*window, symbolizer, kContext));
  }
}
BENCHMARK(BM_FromWindow)->Arg(100'000)->Unit(benchmark::kMillisecond);

void BM_Encode(benchmark::State& state) {
  BenchSymbolizer symbolizer;
  const Profile profile = FromWindow(*BenchWindow(state.range(0)), symbolizer, kContext);
  size_t bytes = 0;
  for (auto _ : state) bytes = Encode(profile).size();
  state.counters["bytes"] = static_cast<double>(bytes);
}
BENCHMARK(BM_Encode)->Arg(100'000)->Unit(benchmark::kMillisecond);

void BM_Decode(benchmark::State& state) {
  BenchSymbolizer symbolizer;
  const std::string bytes =
      EncodeGzip(FromWindow(*BenchWindow(state.range(0)), symbolizer, kContext));
  for (auto _ : state) benchmark::DoNotOptimize(Decode(bytes));
}
BENCHMARK(BM_Decode)->Arg(100'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hotpath::pprof
