// Sums over the CPUs of the kernel side's per-CPU counts.
#include "daemon/collect/session_counters.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <vector>

#include "bpf/abi.h"

namespace hotpath {

static_assert(kLosses == HP_LOSSES + 1 && kWalkEnds == HP_WALK_ENDS);

SessionCounters& SessionCounters::operator+=(const SessionCounters& other) {
  sent += other.sent;
  idle_ns += other.idle_ns;
  for (size_t i = 0; i < kLosses; i++) lost.at(i) += other.lost.at(i);
  for (size_t i = 0; i < kWalkEnds; i++) walk_ends.at(i) += other.walk_ends.at(i);
  return *this;
}

SessionCounters ReadSessionCounters(int session_states_fd, uint32_t session) {
  SessionCounters sum;
  const int possible = libbpf_num_possible_cpus();
  if (possible <= 0) return sum;
  std::vector<hp_session_state> states(static_cast<size_t>(possible));
  if (bpf_map_lookup_elem(session_states_fd, &session, states.data()) != 0) return sum;
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
