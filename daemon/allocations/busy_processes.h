// Which processes use CPU, by the samples that are taken anyway.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

#include "daemon/profile/sample.h"

namespace hotpath {

// Keeps at most kMax processes; one that has used nothing for some halvings is forgotten. Not
// thread-safe.
class BusyProcesses {
 public:
  static constexpr size_t kMax = 4096;

  void Add(const Sample& cpu_sample) {
    auto found = busy_.find(cpu_sample.process);
    if (found == busy_.end()) {
      if (busy_.size() >= kMax) return;
      found = busy_.emplace(cpu_sample.process, Busy{.sample = cpu_sample, .cpu_ns = 0}).first;
      found->second.sample.frames = {};
    }
    found->second.cpu_ns += static_cast<double>(cpu_sample.value);
  }

  // What was used before counts half from now on. Each minute or so.
  void Halve() {
    for (auto entry = busy_.begin(); entry != busy_.end();) {
      entry->second.cpu_ns /= 2;
      entry = entry->second.cpu_ns < kForgottenNs ? busy_.erase(entry) : std::next(entry);
    }
  }

  struct Busy {
    Sample sample;  // One of its samples, without frames.
    double cpu_ns = 0;
  };
  // The busiest first, `most` at most of those that `wanted` says true of.
  template <typename Wanted>
  std::vector<Busy> Top(size_t most, const Wanted& wanted) const {
    std::vector<Busy> top;
    for (const auto& [process, busy] : busy_) {
      if (wanted(busy.sample)) top.push_back(busy);
    }
    std::ranges::sort(top, std::greater(), &Busy::cpu_ns);
    if (top.size() > most) top.resize(most);
    return top;
  }

 private:
  static constexpr double kForgottenNs = 1e6;
  std::map<ProcessKey, Busy> busy_;
};

}  // namespace hotpath
