// Reads what the kernel says about itself and judges it.
#include "exporters/cli/doctor.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string_view>

namespace hotpath::cli {
namespace {

constexpr int kMajor = 6, kMinor = 1;  // Maple tree of mappings, bpf_loop.
constexpr int64_t kHighestRateHz = 999;

// Numbers of linux/capability.h, which Debian 12's libc headers may know only in part.
struct Capability {
  std::string_view name;
  int number;
  int instead;  // Another capability that grants the same.
};
constexpr int kSysAdmin = 21, kDacOverride = 1;
constexpr std::array<Capability, 6> kCapabilities = {{
    {"BPF", 39, kSysAdmin},
    {"PERFMON", 38, kSysAdmin},
    {"SYS_PTRACE", 19, 19},
    {"DAC_READ_SEARCH", 2, kDacOverride},
    {"SYSLOG", 34, kSysAdmin},
    {"CHECKPOINT_RESTORE", 40, kSysAdmin},
}};

// First line of a file below the host's root; nullopt when it cannot be read.
std::optional<std::string> FirstLine(const HostView& host, const std::string& path) {
  std::ifstream file(host.root + path);
  std::string line;
  if (!file || !std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<int64_t> ReadNumber(const HostView& host, const std::string& path) {
  const auto line = FirstLine(host, path);
  if (!line) return std::nullopt;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(line->data(), line->data() + line->size(), number);
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

uint64_t EffectiveCapabilities(const HostView& host) {
  std::ifstream status(host.root + "/proc/self/status");
  constexpr std::string_view kKey = "CapEff:";
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(kKey)) continue;
    const size_t begin = line.find_first_not_of(" \t", kKey.size());
    if (begin == std::string::npos) return 0;
    uint64_t mask = 0;
    std::from_chars(line.data() + begin, line.data() + line.size(), mask, 16);
    return mask;
  }
  return 0;
}

bool Has(uint64_t mask, int capability) { return (mask >> capability & 1) != 0; }

DoctorCheck Good(std::string name, bool required, std::string found) {
  return {std::move(name), required, true, std::move(found), ""};
}
DoctorCheck Bad(std::string name, bool required, std::string found, std::string remedy) {
  return {std::move(name), required, false, std::move(found), std::move(remedy)};
}

DoctorCheck CheckKernel(const HostView& host) {
  int major = 0, minor = 0;
  const char* end = host.kernel_release.data() + host.kernel_release.size();
  const auto dot = std::from_chars(host.kernel_release.data(), end, major);
  if (dot.ptr != end && *dot.ptr == '.') std::from_chars(dot.ptr + 1, end, minor);
  if (major > kMajor || (major == kMajor && minor >= kMinor)) {
    return Good("kernel", true, host.kernel_release);
  }
  return Bad("kernel", true, host.kernel_release,
             "boot a kernel of 6.1 or later: address look-up uses its tree of mappings");
}

DoctorCheck CheckBtf(const HostView& host) {
  const std::string path = "/sys/kernel/btf/vmlinux";
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(host.root + path, error);
  if (!error && size > 0) return Good("btf", true, fmt::format("{}, {} bytes", path, size));
  return Bad("btf", true, "no " + path,
             "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y; all distributions' since 2021 are");
}

DoctorCheck CheckCapabilities(uint64_t mask) {
  std::string missing;
  for (const Capability& capability : kCapabilities) {
    if (Has(mask, capability.number) || Has(mask, capability.instead)) continue;
    missing += (missing.empty() ? "" : " ") + std::string(capability.name);
  }
  if (missing.empty()) return Good("capabilities", true, "all six");
  return Bad("capabilities", true, "missing: " + missing,
             "run with sudo, or give a service AmbientCapabilities=CAP_BPF CAP_PERFMON "
             "CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_SYSLOG CAP_CHECKPOINT_RESTORE");
}

DoctorCheck CheckLockdown(const HostView& host) {
  const auto line = FirstLine(host, "/sys/kernel/security/lockdown");
  if (!line) return Good("lockdown", true, "none (not built in, or securityfs is not mounted)");
  if (line->find("[confidentiality]") == std::string::npos) return Good("lockdown", true, *line);
  return Bad("lockdown", true, *line,
             "boot with lockdown=integrity or less: confidentiality forbids BPF to read memory");
}

DoctorCheck CheckParanoid(const HostView& host, uint64_t mask) {
  const auto level = ReadNumber(host, "/proc/sys/kernel/perf_event_paranoid");
  if (!level) {
    return Bad("perf_event_paranoid", true, "no such sysctl",
               "boot a kernel built with CONFIG_PERF_EVENTS=y");
  }
  const std::string found = fmt::format("{}", *level);
  // Mainline ends at 2. Debian's and Ubuntu's own 3 and 4 refuse perf_event_open to CAP_PERFMON.
  if (*level <= 2 || Has(mask, kSysAdmin)) return Good("perf_event_paranoid", true, found);
  return Bad("perf_event_paranoid", true, found,
             "sysctl -w kernel.perf_event_paranoid=2, or run as root with all capabilities: at 3 "
             "and 4 CAP_PERFMON is not enough on Debian and Ubuntu");
}

DoctorCheck CheckKptr(const HostView& host) {
  const auto level = ReadNumber(host, "/proc/sys/kernel/kptr_restrict");
  if (!level) return Good("kptr_restrict", false, "no such sysctl");
  if (*level < 2) return Good("kptr_restrict", false, fmt::format("{}", *level));
  return Bad("kptr_restrict", false, fmt::format("{}", *level),
             "sysctl -w kernel.kptr_restrict=1: at 2 kernel frames stay without names");
}

DoctorCheck CheckBpfStats(const HostView& host) {
  const auto enabled = ReadNumber(host, "/proc/sys/kernel/bpf_stats_enabled");
  if (!enabled) return Good("bpf_stats", false, "no such sysctl");
  return Good("bpf_stats", false,
              *enabled != 0 ? "1: BPF run time is counted, which costs a little"
                            : "0: BPF run time is not counted");
}

DoctorCheck CheckClocksource(const HostView& host) {
  const auto name =
      FirstLine(host, "/sys/devices/system/clocksource/clocksource0/current_clocksource");
  if (!name) return Good("clocksource", false, "unknown");
  for (const std::string_view slow : {"hpet", "acpi_pm", "jiffies", "refined-jiffies"}) {
    if (*name == slow) {
      return Bad("clocksource", false, *name,
                 "boot with tsc=reliable or clocksource=tsc if the hardware allows: every sample "
                 "reads this slow clock");
    }
  }
  return Good("clocksource", false, *name);
}

DoctorCheck CheckTracefs(const HostView& host) {
  for (const char* path : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    std::error_code error;
    if (std::filesystem::is_directory(host.root + path + "/events", error)) {
      return Good("tracefs", false, path);
    }
  }
  return Bad("tracefs", false, "not mounted, or not readable",
             "mount -t tracefs nodev /sys/kernel/tracing, as root: page-fault and scheduler "
             "profiles use its tracepoints; CPU profiles do not");
}

DoctorCheck CheckSampleRate(const HostView& host) {
  const std::string name = "perf_event_max_sample_rate";
  const auto rate = ReadNumber(host, "/proc/sys/kernel/" + name);
  if (!rate) return Good(name, false, "no such sysctl");
  const std::string found = fmt::format("{} Hz", *rate);
  if (*rate >= kHighestRateHz) return Good(name, false, found);
  return Bad(name, false, found,
             fmt::format("sysctl -w kernel.{}=100000: faster requests than {} Hz are refused", name,
                         *rate));
}

DoctorCheck CheckCpuTime(const HostView& host) {
  const std::string name = "perf_cpu_time_max_percent";
  const auto percent = ReadNumber(host, "/proc/sys/kernel/" + name);
  if (!percent) return Good(name, false, "no such sysctl");
  const std::string found = fmt::format("{}%", *percent);
  if (*percent == 0 || *percent >= 5) return Good(name, false, found);
  return Bad(name, false, found,
             "sysctl -w kernel." + name + "=25: the kernel lowers the sampling rate this early");
}

DoctorCheck CheckMemlock(const HostView& host) {
  if (!host.memlock_bytes) return Good("memlock", false, "unlimited");
  // BPF memory has been charged to cgroups since 5.11: any limit will do.
  return Good("memlock", false,
              fmt::format("{} bytes; BPF maps do not count against it", *host.memlock_bytes));
}

}  // namespace

HostView ThisHost() {
  HostView host;
  utsname name{};
  if (uname(&name) == 0) host.kernel_release = name.release;
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    host.memlock_bytes = limit.rlim_cur;
  }
  return host;
}

std::vector<DoctorCheck> CheckHost(const HostView& host) {
  const uint64_t capabilities = EffectiveCapabilities(host);
  return {CheckKernel(host),
          CheckBtf(host),
          CheckCapabilities(capabilities),
          CheckLockdown(host),
          CheckParanoid(host, capabilities),
          CheckKptr(host),
          CheckBpfStats(host),
          CheckClocksource(host),
          CheckTracefs(host),
          CheckSampleRate(host),
          CheckCpuTime(host),
          CheckMemlock(host)};
}

bool HostIsFit(const std::vector<DoctorCheck>& checks) {
  for (const DoctorCheck& check : checks) {
    if (check.required && !check.ok) return false;
  }
  return true;
}

}  // namespace hotpath::cli
