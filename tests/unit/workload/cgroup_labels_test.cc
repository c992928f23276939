// Labels from the cgroup paths that systemd and container runtimes make.
#include "daemon/workload/cgroup_labels.h"

#include <gtest/gtest.h>

#include <string>

namespace hotpath {
namespace {

const std::string kId = "3f4e1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7";
const std::string kOuterId = std::string(64, 'a');

WorkloadLabels Container(std::optional<std::string> runtime, std::optional<std::string> pod = {}) {
  return {.unit = {}, .container_id = kId, .runtime = std::move(runtime), .pod = std::move(pod)};
}

WorkloadLabels Unit(std::string unit) {
  return {.unit = std::move(unit), .container_id = {}, .runtime = {}, .pod = {}};
}

TEST(CgroupLabels, AServiceIsItsUnit) {
  EXPECT_EQ(LabelsFromCgroup("/system.slice/redis.service"), Unit("redis.service"));
  EXPECT_EQ(LabelsFromCgroup("/system.slice/system-getty.slice/getty@tty1.service"),
            Unit("getty@tty1.service"));
}

TEST(CgroupLabels, TheInnermostUnitCounts) {
  EXPECT_EQ(LabelsFromCgroup("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service"),
            Unit("web.service"));
  EXPECT_EQ(LabelsFromCgroup("/user.slice/user-1000.slice/session-3.scope"),
            Unit("session-3.scope"));
  EXPECT_EQ(LabelsFromCgroup("/system.slice/postgresql.service/worker/7"),
            Unit("postgresql.service"));
}

TEST(CgroupLabels, ContainersOfEachRuntimeAreFoundWithoutAUnit) {
  EXPECT_EQ(LabelsFromCgroup("/system.slice/docker-" + kId + ".scope"), Container("docker"));
  EXPECT_EQ(LabelsFromCgroup("/docker/" + kId), Container("docker"));
  EXPECT_EQ(LabelsFromCgroup("/machine.slice/libpod-" + kId + ".scope/container"),
            Container("podman"));
  EXPECT_EQ(LabelsFromCgroup("/system.slice/containerd.service/x/cri-containerd-" + kId + ".scope"),
            Container("containerd"));
  EXPECT_EQ(LabelsFromCgroup("/x/" + kId), Container(std::nullopt));
  EXPECT_EQ(LabelsFromCgroup("/docker-" + kId + ".scope/init"), Container("docker"));
}

TEST(CgroupLabels, KubernetesPathsNameThePodInBothDrivers) {
  const std::string pod = "0d1f6a3e-9e2b-4b77-9d8e-1c2d3e4f5a6b";
  EXPECT_EQ(LabelsFromCgroup("/kubepods.slice/kubepods-burstable.slice/"
                             "kubepods-burstable-pod0d1f6a3e_9e2b_4b77_9d8e_1c2d3e4f5a6b.slice/"
                             "cri-containerd-" +
                             kId + ".scope"),
            Container("containerd", pod));
  EXPECT_EQ(LabelsFromCgroup("/kubepods/besteffort/pod" + pod + "/" + kId),
            Container(std::nullopt, pod));
  EXPECT_EQ(LabelsFromCgroup("/../../kubepods-pod0d1f6a3e_9e2b_4b77_9d8e_1c2d3e4f5a6b.slice/crio-" +
                             kId + ".scope"),
            Container("crio", pod));
  const std::string static_pod(32, 'b');
  EXPECT_EQ(LabelsFromCgroup("/kubepods/pod" + static_pod + "/" + kId),
            Container(std::nullopt, static_pod));
}

TEST(CgroupLabels, InAClusterWithinAContainerTheInnerContainerCounts) {
  const WorkloadLabels labels =
      LabelsFromCgroup("/docker/" + kOuterId + "/kubelet/kubepods/besteffort/pod" +
                       std::string(32, '1') + "/" + kId);
  EXPECT_EQ(labels.container_id, kId);
  EXPECT_EQ(labels.pod, std::string(32, '1'));
}

TEST(CgroupLabels, AUnitWithinAContainerIsKeptBesideIt) {
  const WorkloadLabels labels =
      LabelsFromCgroup("/system.slice/docker-" + kId + ".scope/system.slice/nginx.service");
  EXPECT_EQ(labels.unit, "nginx.service");
  EXPECT_EQ(labels.container_id, kId);
}

TEST(CgroupLabels, AnEcsTaskIdIsAContainer) {
  const std::string task = std::string(32, 'c') + "-1234567890";
  EXPECT_EQ(LabelsFromCgroup("/ecs/" + task).container_id, task);
}

TEST(CgroupLabels, MonitorsAndLookAlikesAreNoContainers) {
  EXPECT_FALSE(LabelsFromCgroup("/kubepods/crio-conmon-" + kId + ".scope").container_id);
  EXPECT_FALSE(LabelsFromCgroup("/docker/" + kId.substr(1)).container_id);
  EXPECT_FALSE(LabelsFromCgroup("/docker/" + kId + "0").container_id);
  EXPECT_FALSE(LabelsFromCgroup("/tripod" + std::string(32, '1')).pod);
  EXPECT_FALSE(LabelsFromCgroup("/pod0d1f6a3e-9e2b-4b77-9d8e+1c2d3e4f5a6b").pod);
}

TEST(CgroupLabels, HostileTextGivesNoLabels) {
  const WorkloadLabels none;
  EXPECT_EQ(LabelsFromCgroup(""), none);
  EXPECT_EQ(LabelsFromCgroup("/"), none);
  EXPECT_EQ(LabelsFromCgroup("////..//"), none);
  EXPECT_EQ(LabelsFromCgroup("/evil\nname.service"), none);
  EXPECT_EQ(LabelsFromCgroup("/" + std::string(300, 'x') + ".service"), none);
  EXPECT_EQ(LabelsFromCgroup(std::string(100'000, '/') + "redis.service"), none);
  EXPECT_EQ(LabelsFromCgroup("/.service"), none);
}

}  // namespace
}  // namespace hotpath
