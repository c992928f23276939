// Captures of allocations: whom to watch, the windows, and what rows come to stand for.
#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <tuple>

#include "daemon/pipeline.h"

namespace hotpath {
namespace {

constexpr size_t kMostProcesses = 16;
constexpr int kWindowsWanted = 200;  // In one capture; 8 are the least that says anything.
constexpr std::chrono::milliseconds kShortestGap{50};
constexpr std::chrono::milliseconds kLongestGap{150};

// Functions by which allocators are entered: what is of interest is who calls them.
bool IsAllocatorEntry(std::string_view function) {
  static const std::set<std::string_view> kEntries = {
      "malloc",        "calloc",         "realloc",         "reallocarray",   "memalign",
      "aligned_alloc", "valloc",         "pvalloc",         "posix_memalign", "__libc_malloc",
      "__libc_calloc", "__libc_realloc", "__libc_memalign", "operator new",   "operator new[]",
      "_Znwm",         "_Znam"};
  return kEntries.contains(function);
}

}  // namespace

Result<std::unique_ptr<AllocSession>> Pipeline::BeginAllocs(const CaptureRequest& request) {
  std::vector<AllocCaptures::Candidate> candidates;
  for (const uint32_t pid : request.filter.pids) candidates.push_back({.pid = pid, .weight = 1});
  if (candidates.empty()) {
    const Result<OpenCapture> filter = OpenCapture::Open(request, 0, 0);
    if (!filter) return std::unexpected(filter.error());
    std::lock_guard lock(mutex_);
    const auto wanted = [&](const Sample& sample) {
      const auto facts = processes_->Find(sample.process, sample.process_name);
      return facts && !facts->exe.empty() && filter->WantsProcess(sample, *facts);
    };
    for (const BusyProcesses::Busy& busy : busy_.Top(kMostProcesses, wanted)) {
      candidates.push_back({.pid = busy.sample.process.pid, .weight = busy.cpu_ns});
    }
  }
  return allocs_->Begin(candidates);
}

uint64_t Pipeline::RunAllocs(AllocSession& session, const CaptureRequest& request,
                             const std::atomic<bool>& cancelled, uint64_t begin_ns) {
  const uint64_t wanted_end_ns = begin_ns + static_cast<uint64_t>(request.duration.count());
  const auto gap = std::clamp<std::chrono::nanoseconds>(request.duration / kWindowsWanted,
                                                        kShortestGap, kLongestGap);
  uint64_t last_ns = begin_ns;
  session.Run(gap, [&](uint64_t now_ns) {
    last_ns = std::min(now_ns, wanted_end_ns);
    return now_ns >= wanted_end_ns || cancelled || end_captures_ || stopping_;
  });
  return last_ns;
}

// The rows' leaf becomes the function that asked the allocator; rows that are then alike are one.
void Pipeline::DropAllocatorFrames(Window& window) const {
  StackTable stacks;
  std::vector<WindowRow> rows;
  std::map<std::tuple<uint32_t, uint32_t, WalkEnd>, size_t> known;
  for (const WindowRow& row : window.rows) {
    const std::span<const Frame> frames = window.stacks.Frames(row.stack);
    const ProcessKey& process = window.owners.at(row.owner).process;
    size_t entry = 0;
    while (entry + 1 < frames.size()) {
      const std::vector<SymbolizedFrame> named =
          symbolizer_->Symbolize(process, frames.subspan(entry, 1));
      // The probe's own function is one whatever its name; others are where all they inline is.
      if (entry > 0 && (named.empty() || !IsAllocatorEntry(named[0].lines.back().function))) break;
      entry++;
    }
    WindowRow trimmed = row;
    trimmed.stack = stacks.Intern(frames.subspan(std::min(entry, frames.size())));
    const auto [found, fresh] =
        known.try_emplace({row.owner, trimmed.stack.value, row.walk_end}, rows.size());
    if (fresh) {
      rows.push_back(std::move(trimmed));
      continue;
    }
    WindowRow& same = rows[found->second];
    same.samples += row.samples;
    for (size_t i = 0; i < same.values.size(); i++) same.values[i] += row.values.at(i);
  }
  window.rows = std::move(rows);
  window.stacks = std::move(stacks);
}

}  // namespace hotpath
