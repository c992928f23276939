// What this host lacks for profiling, and what to do about it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace hotpath::cli {

struct DoctorCheck {
  std::string name;       // "btf".
  bool required = false;  // Without it nothing works; else something is missing or slower.
  bool ok = false;
  std::string found;   // What is there.
  std::string remedy;  // What to do; empty when ok.
};

// The host as doctor sees it; a test gives a directory with the files it wants.
struct HostView {
  std::string root;                       // Before /proc and /sys; empty: the real ones.
  std::string kernel_release;             // As uname -r; "6.1.0-18-amd64".
  std::optional<uint64_t> memlock_bytes;  // Nullopt: unlimited.
};

// The host this runs on.
HostView ThisHost();

// Reads only; changes nothing. Always the same checks in the same order: kernel, btf, capabilities,
// lockdown, perf_event_paranoid, kptr_restrict, bpf_stats, clocksource, tracefs,
// perf_event_max_sample_rate, perf_cpu_time_max_percent, memlock.
std::vector<DoctorCheck> CheckHost(const HostView& host);

// True when every required check is ok.
bool HostIsFit(const std::vector<DoctorCheck>& checks);

std::string DoctorText(const std::vector<DoctorCheck>& checks, bool colour);
std::string DoctorJson(const std::vector<DoctorCheck>& checks);
std::string DoctorCsv(const std::vector<DoctorCheck>& checks);

}  // namespace hotpath::cli
