// The labels of a sample: whose it is, in the words of -tagfocus and -tagroot.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/profile/window.h"
#include "exporters/pprof/profile.h"

namespace hotpath::pprof {

// Every label that a profile may hold. pid and tid are numbers, the others strings.
inline constexpr std::array<std::string_view, 10> kLabelNames = {
    "pid", "tid", "comm", "process", "exe", "cgroup", "unit", "container_id", "user", "stack"};

// Labels of everything `owner` does; `facts` may be null. What has no value is left out.
std::vector<Label> OwnerLabels(const SampleOwner& owner, const ProcessFacts* facts);

// Why a stack does not reach its root; only for such.
Label StackLabel(WalkEnd end);

// A label and the text of its value; numbers in decimal.
struct LabelMatch {
  std::string name;
  std::string value;
};

// True when `labels` hold every one of `matches`; several values of one name are alternatives.
bool Matches(std::span<const Label> labels, std::span<const LabelMatch> matches);

}  // namespace hotpath::pprof
