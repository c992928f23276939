// Doctor's judgement of made-up hosts.
#include "exporters/cli/doctor.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace hotpath::cli {
namespace {

constexpr const char* kSixCapabilities = "000001c400080004";  // And no other.

class Doctor : public testing::Test {
 protected:
  void SetUp() override {
    host_.root = testing::TempDir() + "hotpath_doctor_" + std::to_string(getpid());
    host_.kernel_release = "6.1.0-18-amd64";
    Write("/sys/kernel/btf/vmlinux", "BTF");
    Write("/sys/kernel/tracing/events/enable", "0");
    Write("/sys/kernel/security/lockdown", "[none] integrity confidentiality");
    Write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc");
    Write("/proc/sys/kernel/perf_event_paranoid", "2");
    Write("/proc/sys/kernel/kptr_restrict", "1");
    Write("/proc/sys/kernel/bpf_stats_enabled", "0");
    Write("/proc/sys/kernel/perf_event_max_sample_rate", "100000");
    Write("/proc/sys/kernel/perf_cpu_time_max_percent", "25");
    Capabilities(kSixCapabilities);
  }
  void TearDown() override { std::filesystem::remove_all(host_.root); }

  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = host_.root + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  void Capabilities(const std::string& mask) {
    Write("/proc/self/status", "Name:\thotpath\nCapEff:\t" + mask);
  }
  DoctorCheck Find(const std::string& name) {
    for (const DoctorCheck& check : CheckHost(host_)) {
      if (check.name == name) return check;
    }
    ADD_FAILURE() << "no check " << name;
    return {};
  }

  HostView host_;
};

TEST_F(Doctor, AGoodHostIsFitAndNeedsNothing) {
  const auto checks = CheckHost(host_);
  for (const DoctorCheck& check : checks) {
    EXPECT_TRUE(check.ok) << check.name << ": " << check.found;
    EXPECT_EQ(check.remedy, "");
  }
  EXPECT_TRUE(HostIsFit(checks));
}

TEST_F(Doctor, AKernelBefore61IsNotFit) {
  for (const char* release : {"5.15.0", "6.0.19", "garbage", ""}) {
    host_.kernel_release = release;
    EXPECT_FALSE(Find("kernel").ok) << release;
    EXPECT_FALSE(HostIsFit(CheckHost(host_)));
  }
  for (const char* release : {"6.1", "6.18.3-cloud", "7.0"}) {
    host_.kernel_release = release;
    EXPECT_TRUE(Find("kernel").ok) << release;
  }
}

TEST_F(Doctor, MissingCapabilitiesAreNamed) {
  Capabilities("0000000000000000");
  EXPECT_EQ(Find("capabilities").found,
            "missing: BPF PERFMON SYS_PTRACE DAC_READ_SEARCH SYSLOG CHECKPOINT_RESTORE");
  Capabilities("000001ffffffffff");
  EXPECT_TRUE(Find("capabilities").ok);
}

TEST_F(Doctor, DebiansParanoid3NeedsMoreThanPerfmon) {
  Write("/proc/sys/kernel/perf_event_paranoid", "3");
  EXPECT_FALSE(Find("perf_event_paranoid").ok);
  EXPECT_NE(Find("perf_event_paranoid").remedy.find("CAP_PERFMON is not enough"),
            std::string::npos);
  Capabilities("000001ffffffffff");
  EXPECT_TRUE(Find("perf_event_paranoid").ok);
}

TEST_F(Doctor, MissingBtfAndConfidentialityAreFatal) {
  std::filesystem::remove(host_.root + "/sys/kernel/btf/vmlinux");
  EXPECT_FALSE(Find("btf").ok);
  Write("/sys/kernel/security/lockdown", "none integrity [confidentiality]");
  EXPECT_FALSE(Find("lockdown").ok);
  EXPECT_TRUE(Find("lockdown").required);
}

TEST_F(Doctor, ASlowClockIsAWarningOnly) {
  Write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet");
  EXPECT_FALSE(Find("clocksource").ok);
  EXPECT_TRUE(HostIsFit(CheckHost(host_)));
}

TEST_F(Doctor, JsonHasTheKeysOfTheContract) {
  Write("/proc/sys/kernel/kptr_restrict", "2");
  const auto json = nlohmann::json::parse(DoctorJson(CheckHost(host_)));
  EXPECT_EQ(json["ok"], true);
  for (const auto& check : json["checks"]) {
    EXPECT_TRUE(check["remedy"].is_null() == check["ok"].get<bool>()) << check;
    EXPECT_TRUE(check["found"].is_string());
  }
}

}  // namespace
}  // namespace hotpath::cli
