// Reads a path component by component, leaf first.
#include "daemon/workload/cgroup_labels.h"

#include <algorithm>
#include <array>

namespace hotpath {
namespace {

constexpr size_t kMaxPathBytes = 8'192;
constexpr size_t kMaxUnitBytes = 256;
constexpr size_t kContainerIdBytes = 64;
constexpr size_t kTaskIdBytes = 32;

bool IsHex(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsDigits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

struct ScopePrefix {
  std::string_view prefix, runtime;
};
// Monitors (crio-conmon-, libpod-conmon-) are not their containers and match none of these.
constexpr std::array<ScopePrefix, 6> kScopePrefixes{{
    {"docker-", "docker"},
    {"cri-containerd-", "containerd"},
    {"containerd-", "containerd"},
    {"crio-", "crio"},
    {"libpod-payload-", "podman"},
    {"libpod-", "podman"},
}};

// "docker-<id>.scope", "<id>", "cri-containerd-<id>": the id; `parent` names the runtime of a bare
// one ("/docker/<id>").
bool MatchContainer(std::string_view component, std::string_view parent, WorkloadLabels& labels) {
  if (component.ends_with(".scope")) component.remove_suffix(std::string_view(".scope").size());
  std::string_view runtime;
  for (const ScopePrefix& known : kScopePrefixes) {
    if (!component.starts_with(known.prefix)) continue;
    component.remove_prefix(known.prefix.size());
    runtime = known.runtime;
    break;
  }
  const bool is_id = component.size() == kContainerIdBytes && IsHex(component);
  const bool is_task_id = component.size() > kTaskIdBytes + 1 && component[kTaskIdBytes] == '-' &&
                          IsHex(component.substr(0, kTaskIdBytes)) &&
                          IsDigits(component.substr(kTaskIdBytes + 1));
  if (!is_id && !is_task_id) return false;
  if (runtime.empty() && parent == "docker") runtime = "docker";
  if (runtime.empty() && parent == "libpod_parent") runtime = "podman";
  labels.container_id = component;
  if (!runtime.empty()) labels.runtime = runtime;
  return true;
}

// "pod<uid>", "kubepods-burstable-pod<uid>.slice"; the uid's dashes may be underscores. A static
// pod's uid is 32 digits without dashes.
bool MatchPod(std::string_view component, WorkloadLabels& labels) {
  if (component.ends_with(".slice")) component.remove_suffix(std::string_view(".slice").size());
  const size_t at = component.rfind("pod");
  if (at == std::string_view::npos || (at > 0 && component[at - 1] != '-')) return false;
  std::string uid(component.substr(at + 3));
  std::ranges::replace(uid, '_', '-');
  constexpr size_t kUidBytes = 36;
  constexpr std::array<size_t, 4> kDashes{8, 13, 18, 23};
  std::string digits = uid;
  if (uid.size() == kUidBytes) {
    if (!std::ranges::all_of(kDashes, [&](size_t dash) { return uid[dash] == '-'; })) return false;
    std::erase(digits, '-');
  }
  if (digits.size() != 32 || !IsHex(digits)) return false;
  labels.pod = uid;
  return true;
}

bool IsUnit(std::string_view component) {
  if (component.size() > kMaxUnitBytes) return false;
  if (!component.ends_with(".service") && !component.ends_with(".scope")) return false;
  return component.front() != '.' && std::ranges::none_of(component, [](char c) {
           return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f;
         });
}

}  // namespace

WorkloadLabels LabelsFromCgroup(std::string_view path) {
  WorkloadLabels labels;
  if (path.size() > kMaxPathBytes) return labels;
  while (!path.empty()) {
    const size_t slash = path.rfind('/');
    const std::string_view component =
        slash == std::string_view::npos ? path : path.substr(slash + 1);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
    if (component.empty() || component == "..") continue;
    const size_t parent_at = path.rfind('/');
    const std::string_view parent =
        parent_at == std::string_view::npos ? path : path.substr(parent_at + 1);
    if (!labels.container_id && MatchContainer(component, parent, labels)) continue;
    if (!labels.pod && MatchPod(component, labels)) continue;
    if (!labels.unit && !labels.container_id && IsUnit(component)) labels.unit = component;
  }
  return labels;
}

}  // namespace hotpath
