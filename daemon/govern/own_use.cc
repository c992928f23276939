// getrusage and /proc/self/statm.
#include "daemon/govern/own_use.h"

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

namespace hotpath {

double OwnCpuSeconds() {
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  double sum = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    getrusage(who, &usage);
    sum += seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }
  return sum;
}

uint64_t ResidentBytes(const std::string& statm) {
  std::ifstream file(statm);
  uint64_t size_pages = 0, resident_pages = 0;
  if (!(file >> size_pages >> resident_pages)) return 0;
  return resident_pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace hotpath
