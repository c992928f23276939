// One perf event on each online CPU that runs one of our programs, through hot-plug.
#pragma once

#include <linux/perf_event.h>

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "daemon/base/result.h"

struct bpf_link;
struct bpf_program;

namespace hotpath {

// Owned by the sampler of one session; not thread-safe. Closed when destroyed.
class CpuEvents {
 public:
  CpuEvents() = default;
  ~CpuEvents() { Close(); }
  CpuEvents(const CpuEvents&) = delete;
  CpuEvents& operator=(const CpuEvents&) = delete;

  // Opens an event on every online CPU and lets it run `program`, which finds `cookie` by
  // bpf_get_attach_cookie(). `attributes` is asked for each CPU's, now and whenever one comes.
  // Errors: kPermission (perf_event_paranoid, CAP_PERFMON), kUnsupported (no CPU has such an
  // event), kSystem.
  Result<void> Open(bpf_program* program, uint64_t cookie,
                    std::function<perf_event_attr()> attributes);
  void Close();
  bool open() const { return !events_.empty(); }
  // Closes the events of CPUs that went, also of those that returned since; opens those that came.
  // `online` as OnlineCpus() gives it.
  void FollowHotplug(std::span<const int> online);
  // PERF_EVENT_IOC_PERIOD on each: a period, or the frequency of events that have one.
  void SetPeriods(const std::function<uint64_t()>& draw);

 private:
  struct Event {
    int fd = -1;  // Owned and closed by link.
    bpf_link* link = nullptr;
    uint64_t incarnation = 0;  // Of the CPU, when the event was opened.
  };
  Result<void> OpenCpu(int cpu);

  bpf_program* program_ = nullptr;
  uint64_t cookie_ = 0;
  std::function<perf_event_attr()> attributes_;
  std::map<int, Event> events_;  // By CPU number.
};

// Sorted.
std::vector<int> OnlineCpus();

// CPUs of a list as /sys/devices/system/cpu/online has it ("0-3,8"); empty when malformed.
std::vector<int> ParseCpuList(const std::string& text);

}  // namespace hotpath
