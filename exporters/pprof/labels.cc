// The labels of a sample: whose it is, in the words of -tagfocus and -tagroot.
#include "exporters/pprof/labels.h"

#include <algorithm>

#include "daemon/workload/cgroup_labels.h"

namespace hotpath::pprof {
namespace {

void AddText(std::vector<Label>& labels, std::string_view key, std::string_view value) {
  if (value.empty()) return;
  labels.push_back({.key = std::string(key), .str = std::string(value), .num_unit = {}});
}

void AddNumber(std::vector<Label>& labels, std::string_view key, int64_t value) {
  if (value == 0) return;
  labels.push_back({.key = std::string(key), .str = {}, .num = value, .num_unit = {}});
}

}  // namespace

std::vector<Label> OwnerLabels(const SampleOwner& owner, const ProcessFacts* facts) {
  std::vector<Label> labels;
  labels.reserve(kLabelNames.size());
  AddNumber(labels, "pid", owner.process.pid);
  AddNumber(labels, "tid", owner.tid);
  AddText(labels, "comm", owner.comm);
  AddText(labels, "process", owner.process_name);
  if (facts != nullptr) {
    AddText(labels, "exe", facts->exe);
    AddText(labels, "cgroup", facts->cgroup);
    const WorkloadLabels workload = LabelsFromCgroup(facts->cgroup);
    AddText(labels, "unit", workload.unit.value_or(""));
    AddText(labels, "container_id", workload.container_id.value_or(""));
    AddText(labels, "user", facts->user);
  }
  return labels;
}

Label StackLabel(WalkEnd end) {
  return {.key = "stack", .str = std::string(WalkEndReason(end)), .num_unit = {}};
}

bool Matches(std::span<const Label> labels, std::span<const LabelMatch> matches) {
  const auto holds = [&](const LabelMatch& match) {
    return std::ranges::any_of(labels, [&](const Label& label) {
      if (label.key != match.name) return false;
      return label.str.empty() ? std::to_string(label.num) == match.value
                               : label.str == match.value;
    });
  };
  return std::ranges::all_of(matches, [&](const LabelMatch& match) {
    return std::ranges::any_of(
        matches, [&](const LabelMatch& other) { return other.name == match.name && holds(other); });
  });
}

}  // namespace hotpath::pprof
