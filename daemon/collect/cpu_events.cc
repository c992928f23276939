// perf events: opening, what a refusal means, hot-plug.
#include "daemon/collect/cpu_events.h"

#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <utility>

#include "daemon/base/fd.h"

namespace hotpath {
namespace {

constexpr int kMaxCpus = 4096;

// Changes whenever the CPU comes online, as its sysfs directory is made anew; 0 where there is
// none.
uint64_t Incarnation(int cpu) {
  struct stat status{};
  const std::string path = fmt::format("/sys/devices/system/cpu/cpu{}/topology", cpu);
  return stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

std::string ExplainPerfFailure(int error_number) {
  int paranoid = 0;
  std::ifstream("/proc/sys/kernel/perf_event_paranoid") >> paranoid;
  if ((error_number == EACCES || error_number == EPERM) && paranoid > 2) {
    return fmt::format(
        "perf_event_open: {}: kernel.perf_event_paranoid is {}, where CAP_PERFMON is not enough: "
        "sysctl -w kernel.perf_event_paranoid=2, or run as root",
        std::strerror(error_number), paranoid);
  }
  if (error_number == EACCES || error_number == EPERM) {
    return "perf_event_open: not permitted: run as root or with CAP_PERFMON";
  }
  return fmt::format("perf_event_open: {}", std::strerror(error_number));
}

}  // namespace

std::vector<int> OnlineCpus() {
  std::ifstream file("/sys/devices/system/cpu/online");
  std::string text;
  std::getline(file, text);
  std::vector<int> cpus = ParseCpuList(text);
  if (cpus.empty()) {
    for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) cpus.push_back(cpu);
  }
  return cpus;
}

std::vector<int> ParseCpuList(const std::string& text) {
  std::vector<int> cpus;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    int first = 0;
    auto [next, error] = std::from_chars(at, end, first);
    if (error != std::errc() || first < 0 || first >= kMaxCpus) return {};
    int last = first;
    if (next < end && *next == '-') {
      auto [after, range_error] = std::from_chars(next + 1, end, last);
      if (range_error != std::errc() || last < first || last >= kMaxCpus) return {};
      next = after;
    }
    for (int cpu = first; cpu <= last; cpu++) cpus.push_back(cpu);
    if (next < end && *next != ',') return {};
    at = next + 1;
  }
  return cpus;
}

Result<void> CpuEvents::Open(bpf_program* program, uint64_t cookie,
                             std::function<perf_event_attr()> attributes) {
  program_ = program;
  cookie_ = cookie;
  attributes_ = std::move(attributes);
  for (const int cpu : OnlineCpus()) {
    if (Result<void> opened = OpenCpu(cpu); !opened) {
      if (opened.error().message.find("No such device") != std::string::npos) continue;
      Close();
      return opened;
    }
  }
  if (!open()) return Fail(ErrorCode::kUnsupported, "no CPU has an event to sample by");
  return {};
}

Result<void> CpuEvents::OpenCpu(int cpu) {
  perf_event_attr attributes = attributes_();
  const uint64_t incarnation = Incarnation(cpu);
  Fd event(static_cast<int>(
      syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!event) {
    const int error_number = errno;
    const Error base = FailErrno("", error_number).error();
    return Fail(base.code, ExplainPerfFailure(error_number));
  }
  bpf_perf_event_opts options{};
  options.sz = sizeof(options);
  options.bpf_cookie = cookie_;
  bpf_link* link = bpf_program__attach_perf_event_opts(program_, event.get(), &options);
  if (link == nullptr) return FailErrno(fmt::format("attach to an event of CPU {}", cpu));
  events_.emplace(cpu, Event{.fd = event.Release(), .link = link, .incarnation = incarnation});
  return {};
}

void CpuEvents::Close() {
  for (auto& [cpu, event] : events_) bpf_link__destroy(event.link);
  events_.clear();
}

void CpuEvents::FollowHotplug(std::span<const int> online) {
  // The event of a CPU that went away is dead even if the CPU has returned.
  std::erase_if(events_, [&](const auto& entry) {
    const auto& [cpu, event] = entry;
    if (std::ranges::binary_search(online, cpu) && event.incarnation == Incarnation(cpu)) {
      return false;
    }
    bpf_link__destroy(event.link);
    return true;
  });
  for (const int cpu : online) {
    if (events_.contains(cpu)) continue;
    if (Result<void> opened = OpenCpu(cpu); !opened) {
      spdlog::debug("CPU {} came online: {}", cpu, opened.error().message);
    }
  }
}

void CpuEvents::SetPeriods(const std::function<uint64_t()>& draw) {
  for (auto& [cpu, event] : events_) {
    uint64_t period = draw();
    ioctl(event.fd, PERF_EVENT_IOC_PERIOD, &period);
  }
}

}  // namespace hotpath
