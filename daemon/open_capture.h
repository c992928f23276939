// A capture under way: which samples it wants, and what it has gathered.
#pragma once

#include <re2/re2.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/profile/capture.h"
#include "daemon/profile/window.h"

namespace hotpath {

// Not thread-safe: Pipeline holds its lock. Time is CLOCK_MONOTONIC.
//
// A CPU sample stands for the time since its CPU's last tick. Of the first and the last one only
// the part inside [begin, end) counts, so that the sum is the CPU time of that interval, not of
// whole periods: at 19 Hz and 10 s, whole periods would be 0.3 % short.
class OpenCapture {
 public:
  // Errors: kNotFound for an unknown type, kInvalidArgument when a regular expression of the filter
  // is none.
  static Result<OpenCapture> Open(const CaptureRequest& request, uint32_t session,
                                  uint64_t begin_ns);

  uint32_t session() const { return session_; }
  TypeId type() const { return type_; }
  void SetEnd(uint64_t end_ns) { end_ns_ = end_ns; }
  // Over the memory limit: samples of stacks that are new are lost, and counted.
  void SetKnownStacksOnly(bool only) { known_stacks_only_ = only; }
  // `facts` is asked at most once a process.
  template <typename FactsOf>
  void Offer(const Sample& sample, const FactsOf& facts_of) {
    if (sample.session != session_ || sample.type != type_) return;
    // Of other types a sample is of one moment.
    const uint64_t stands_ns = type_ == TypeId::kCpu ? sample.value : 0;
    const uint64_t from = sample.time_ns - std::min(stands_ns, sample.time_ns);
    if (sample.time_ns <= begin_ns_ || from >= end_ns_) return;
    if (type_ != TypeId::kCpu && !Listed(sample)) return;
    auto it = processes_.find(sample.process);
    if (it == processes_.end()) it = processes_.emplace(sample.process, facts_of(sample)).first;
    if (!Wants(sample, it->second)) return;
    clipped_ = sample;
    if (type_ == TypeId::kCpu) {
      clipped_.value = std::min(sample.time_ns, end_ns_) - std::max(from, begin_ns_);
    }
    const std::optional<uint32_t> row = known_stacks_only_
                                            ? builder_.AddKnown(clipped_, Loss::kMemoryLimit)
                                            : builder_.Add(clipped_);
    if (row && builder_.window().type.weighed_late) {
      unweighed_.push_back({.row = *row,
                            .pid = sample.process.pid,
                            .tid = sample.tid,
                            .time_ns = sample.time_ns,
                            .bytes = sample.bytes});
    }
    builder_.window().processes.try_emplace(sample.process, it->second);
  }
  std::unique_ptr<Window> Close() { return builder_.Close(); }
  // Of a type whose samples are weighed when the capture has ended.
  const std::vector<UnweighedSample>& unweighed() const { return unweighed_; }
  // Would it take samples of this process?
  bool WantsProcess(const Sample& sample, const ProcessFacts& facts) const {
    return Wants(sample, facts);
  }

 private:
  explicit OpenCapture(ProfileType type) : type_(type.id), builder_(std::move(type)) {}
  // Is it of the processes asked for? Of cpu the kernel side has decided that already. A process is
  // known as a descendant if its parent is: one whose parent was never sampled is not found.
  bool Listed(const Sample& sample);
  bool Wants(const Sample& sample, const ProcessFacts& facts) const;

  TypeId type_;
  uint32_t session_ = 0;
  uint64_t begin_ns_ = 0;
  uint64_t end_ns_ = UINT64_MAX;
  bool known_stacks_only_ = false;
  CaptureFilter filter_;
  std::shared_ptr<const RE2> comm_;               // Null: any name.
  std::map<ProcessKey, ProcessFacts> processes_;  // All that ran, wanted or not.
  WindowBuilder builder_;
  Sample clipped_;
  std::vector<UnweighedSample> unweighed_;
};

}  // namespace hotpath
