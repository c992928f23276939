// What this process uses: CPU time and resident memory, as the kernel counts them.
#pragma once

#include <cstdint>
#include <string>

namespace hotpath {

// All threads, and children that have ended.
double OwnCpuSeconds();
// Second field of /proc/self/statm, in bytes; 0 when it cannot be read.
uint64_t ResidentBytes(const std::string& statm = "/proc/self/statm");

}  // namespace hotpath
