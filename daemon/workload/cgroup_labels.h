// What a cgroup's path says of the workload in it: systemd unit, container, pod.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace hotpath {

struct WorkloadLabels {
  std::optional<std::string> unit;          // "redis.service"; none for a container's own scope.
  std::optional<std::string> container_id;  // 64 hex digits; on ECS "<32 hex>-<number>".
  std::optional<std::string> runtime;       // "docker", "containerd", "crio", "podman", where told.
  std::optional<std::string> pod;           // Kubernetes pod uid, with dashes.
  friend bool operator==(const WorkloadLabels&, const WorkloadLabels&) = default;
};

// Matches components from the leaf on, never absolute paths: a reader in a cgroup namespace sees
// "/../../kubepods-...", and clusters in containers nest. The innermost container counts, and a
// unit only when it lies in that container. A path is a user's text: it is bounded, and a unit with
// control characters is none.
WorkloadLabels LabelsFromCgroup(std::string_view path);

}  // namespace hotpath
