// perf events: opening, jitter, hot-plug, counters.
#include "daemon/collect/cpu_sampler.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/perf_event.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "bpf/abi.h"
#include "cpu.skel.h"
#include "daemon/base/fd.h"

namespace hotpath {
namespace {

static_assert(CpuSampler::kSessions == HP_CPU_SESSIONS);
static_assert(kLosses == HP_LOSSES + 1 && kWalkEnds == HP_WALK_ENDS);

constexpr int kMaxCpus = 4096;
constexpr int kFastHz = 50;
constexpr std::chrono::milliseconds kFastJitter{200};
constexpr std::chrono::milliseconds kSlowJitter{900};  // As often as the idle reader wakes up.
constexpr std::chrono::seconds kHotplugCheck{1};

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

SessionCounters& SessionCounters::operator+=(const SessionCounters& other) {
  sent += other.sent;
  idle_ns += other.idle_ns;
  for (size_t i = 0; i < kLosses; i++) lost.at(i) += other.lost.at(i);
  for (size_t i = 0; i < kWalkEnds; i++) walk_ends.at(i) += other.walk_ends.at(i);
  return *this;
}

CpuSampler::CpuSampler(KernelSide* kernel) : kernel_(kernel), random_(std::random_device{}()) {}

CpuSampler::~CpuSampler() {
  for (uint32_t session = 0; session < kSessions; session++) Stop(session);
}

uint64_t CpuSampler::DrawPeriod(int hz) {
  const double mean = 1e9 / hz;
  return static_cast<uint64_t>(std::uniform_real_distribution(0.8 * mean, 1.2 * mean)(random_));
}

Result<void> CpuSampler::OpenCpu(uint32_t session, int cpu) {
  Session& state = sessions_.at(session);
  perf_event_attr attributes{};
  attributes.size = sizeof(attributes);
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_CPU_CLOCK;
  attributes.sample_period = DrawPeriod(state.hz);
  attributes.disabled = 1;  // Attaching enables it.
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
  options.bpf_cookie = session;
  bpf_link* link = bpf_program__attach_perf_event_opts(kernel_->skeleton()->progs.cpu_sample,
                                                       event.get(), &options);
  if (link == nullptr) return FailErrno(fmt::format("attach to the clock of CPU {}", cpu));
  state.cpus.emplace(
      cpu, CpuEvent{.event_fd = event.Release(), .link = link, .incarnation = incarnation});
  return {};
}

void CpuSampler::CloseCpu(CpuEvent& event) { bpf_link__destroy(event.link); }

Result<void> CpuSampler::Start(uint32_t session, int hz, std::span<const uint32_t> pids,
                               bool descendants) {
  const int possible = libbpf_num_possible_cpus();
  if (possible <= 0) return Fail(ErrorCode::kSystem, "count the host's CPUs");
  const std::vector<hp_session_state> zero(static_cast<size_t>(possible));
  bpf_map_update_elem(kernel_->session_states_fd(), &session, zero.data(), BPF_ANY);
  const uint32_t restricted = pids.empty() ? 0 : descendants ? 2 : 1;
  const hp_session_config config{.period_ns = 1'000'000'000ull / static_cast<uint64_t>(hz),
                                 .only_listed_pids = restricted,
                                 .reserved = 0};
  bpf_map_update_elem(kernel_->session_configs_fd(), &session, &config, BPF_ANY);
  for (const uint32_t pid : pids) {
    const hp_session_pid key{.session = session, .pid = pid};
    const uint8_t one = 1;
    if (bpf_map_update_elem(kernel_->session_pids_fd(), &key, &one, BPF_ANY) != 0) {
      Stop(session);
      return Fail(ErrorCode::kTooLarge, "too many processes to restrict a capture to");
    }
  }
  sessions_.at(session).hz = hz;
  sessions_.at(session).config_period_ns = config.period_ns;
  for (const int cpu : OnlineCpus()) {
    if (Result<void> opened = OpenCpu(session, cpu); !opened) {
      if (opened.error().message.find("No such device") != std::string::npos) continue;
      Stop(session);
      return opened;
    }
  }
  if (sessions_.at(session).cpus.empty()) {
    return Fail(ErrorCode::kUnsupported, "no CPU has a clock to sample by");
  }
  return {};
}

void CpuSampler::WriteConfigPeriod(uint32_t session, uint64_t period_ns) {
  hp_session_config config{};
  if (bpf_map_lookup_elem(kernel_->session_configs_fd(), &session, &config) != 0) return;
  config.period_ns = period_ns;
  bpf_map_update_elem(kernel_->session_configs_fd(), &session, &config, BPF_ANY);
  sessions_.at(session).config_period_ns = period_ns;
}

void CpuSampler::SetRate(uint32_t session, int hz) {
  Session& state = sessions_.at(session);
  if (state.cpus.empty() || state.hz == hz || hz <= 0) return;
  // A gap is judged by the longer of the two periods until none of the old ones can be under way:
  // else the last long one before a higher rate would count as missed ticks.
  const uint64_t period_ns = 1'000'000'000ull / static_cast<uint64_t>(hz);
  const uint64_t longer_ns = std::max(state.config_period_ns, period_ns);
  if (longer_ns != state.config_period_ns) WriteConfigPeriod(session, longer_ns);
  state.hz = hz;
  const auto now = std::chrono::steady_clock::now();
  state.config_due = now + 2 * std::chrono::nanoseconds(longer_ns);
  state.next_jitter = now;  // Draws the new periods.
}

void CpuSampler::Stop(uint32_t session) {
  Session& state = sessions_.at(session);
  for (auto& [cpu, event] : state.cpus) CloseCpu(event);
  state.cpus.clear();
  hp_session_pid key{};
  std::vector<hp_session_pid> stale;
  for (const hp_session_pid* previous = nullptr;
       bpf_map_get_next_key(kernel_->session_pids_fd(), previous, &key) == 0; previous = &key) {
    if (key.session == session) stale.push_back(key);
  }
  for (const hp_session_pid& pid : stale) {
    bpf_map_delete_elem(kernel_->session_pids_fd(), &pid);
  }
}

void CpuSampler::Tick() {
  const auto now = std::chrono::steady_clock::now();
  std::vector<int> online;
  if (now >= next_hotplug_check_) {
    next_hotplug_check_ = now + kHotplugCheck;
    online = OnlineCpus();
  }
  for (uint32_t number = 0; number < kSessions; number++) {
    Session& session = sessions_.at(number);
    if (session.cpus.empty()) continue;
    if (!online.empty()) FollowHotplug(number, online);
    const uint64_t own_ns = 1'000'000'000ull / static_cast<uint64_t>(session.hz);
    if (session.config_period_ns != own_ns && now >= session.config_due) {
      WriteConfigPeriod(number, own_ns);
    }
    if (now < session.next_jitter) continue;
    session.next_jitter = now + kFastJitter;
    if (session.hz < kFastHz) session.next_jitter = now + kSlowJitter;
    for (auto& [cpu, event] : session.cpus) {
      uint64_t period = DrawPeriod(session.hz);
      ioctl(event.event_fd, PERF_EVENT_IOC_PERIOD, &period);
    }
  }
}

void CpuSampler::FollowHotplug(uint32_t number, std::span<const int> online) {
  Session& session = sessions_.at(number);
  // The event of a CPU that went away is dead even if the CPU has returned.
  for (auto it = session.cpus.begin(); it != session.cpus.end();) {
    if (std::ranges::binary_search(online, it->first) &&
        it->second.incarnation == Incarnation(it->first)) {
      ++it;
    } else {
      CloseCpu(it->second);
      it = session.cpus.erase(it);
    }
  }
  for (const int cpu : online) {
    if (session.cpus.contains(cpu)) continue;
    if (Result<void> opened = OpenCpu(number, cpu); !opened) {
      spdlog::debug("CPU {} came online: {}", cpu, opened.error().message);
    }
  }
}

SessionCounters CpuSampler::Counters(uint32_t session) const {
  SessionCounters sum;
  const int possible = libbpf_num_possible_cpus();
  if (possible <= 0) return sum;
  std::vector<hp_session_state> states(static_cast<size_t>(possible));
  if (bpf_map_lookup_elem(kernel_->session_states_fd(), &session, states.data()) != 0) return sum;
  for (const hp_session_state& state : states) {
    sum.sent += {.samples = state.samples, .value = state.value, .bytes = state.bytes};
    sum.idle_ns += state.idle_ns;
    for (size_t i = 0; i < HP_LOSSES; i++) {
      sum.lost.at(i) += {.samples = state.lost_samples[i],
                         .value = state.lost_value[i],
                         .bytes = state.lost_bytes[i]};
    }
    for (size_t i = 0; i < kWalkEnds; i++) sum.walk_ends.at(i) += state.walk_ends[i];
  }
  return sum;
}

}  // namespace hotpath
