// What the kernel side counts of each sampling session.
#pragma once

#include <array>
#include <cstdint>

#include "daemon/profile/window.h"

namespace hotpath {

// Summed over CPUs, since the session started.
struct SessionCounters {
  SampleSum sent;
  uint64_t idle_ns = 0;
  std::array<SampleSum, kLosses> lost{};
  std::array<uint64_t, kWalkEnds> walk_ends{};

  SessionCounters& operator+=(const SessionCounters& other);
};

// Reads them from the map of session states; zeros where that fails.
SessionCounters ReadSessionCounters(int session_states_fd, uint32_t session);

}  // namespace hotpath
