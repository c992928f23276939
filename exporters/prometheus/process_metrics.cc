// What this process itself costs, under the names every Prometheus client uses.
#include "exporters/prometheus/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

namespace hotpath {
namespace {

// Fields of /proc/PID/stat behind the name: the first one is field 3 of proc(5).
struct Stat {
  double cpu_ticks = 0;
  double threads = 0;
  double start_ticks = 0;
  double virtual_bytes = 0;
  double resident_pages = 0;
};

std::optional<Stat> ReadStat(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  // The name may hold anything, ")" too: what counts is after the last one.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream rest(text.substr(name_end + 1));
  std::vector<std::string> fields;
  for (std::string field; rest >> field;) fields.push_back(field);
  if (fields.size() < 22) return std::nullopt;
  const auto number = [&](size_t field) { return std::strtod(fields[field - 3].c_str(), nullptr); };
  return Stat{.cpu_ticks = number(14) + number(15),
              .threads = number(20),
              .start_ticks = number(22),
              .virtual_bytes = number(23),
              .resident_pages = number(24)};
}

// Unix time of the boot, of the "btime" line.
std::optional<double> ReadBootTime(const std::string& path) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("btime ")) return std::strtod(line.c_str() + 6, nullptr);
  }
  return std::nullopt;
}

std::optional<double> CountFiles(const std::string& folder) {
  std::error_code error;
  double count = 0;
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    ++count;
  }
  if (error) return std::nullopt;
  return count;
}

}  // namespace

std::vector<MetricFamily> ProcessMetrics::Collect() {
  using Type = MetricFamily::Type;
  std::vector<MetricFamily> families;
  const auto add = [&](const char* name, const char* help, Type type, double value) {
    families.push_back({.name = name, .help = help, .type = type, .samples = {{{}, value}}});
  };
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  if (const std::optional<Stat> stat = ReadStat(proc_ + "/self/stat")) {
    add("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.",
        Type::kCounter, stat->cpu_ticks / ticks);
    add("process_resident_memory_bytes", "Resident memory size in bytes.", Type::kGauge,
        stat->resident_pages * static_cast<double>(::sysconf(_SC_PAGESIZE)));
    add("process_virtual_memory_bytes", "Virtual memory size in bytes.", Type::kGauge,
        stat->virtual_bytes);
    add("process_threads", "Number of OS threads in the process.", Type::kGauge, stat->threads);
    if (const std::optional<double> boot = ReadBootTime(proc_ + "/stat")) {
      add("process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
          Type::kGauge, *boot + stat->start_ticks / ticks);
    }
  }
  if (const std::optional<double> count = CountFiles(proc_ + "/self/fd")) {
    add("process_open_fds", "Number of open file descriptors.", Type::kGauge, *count);
  }
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    add("process_max_fds", "Maximum number of open file descriptors.", Type::kGauge,
        static_cast<double>(limit.rlim_cur));
  }
  return families;
}

}  // namespace hotpath
