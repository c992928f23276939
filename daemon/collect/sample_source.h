// What the pipeline asks of the sampling of every type but cpu, which has sessions by the request.
#pragma once

#include "daemon/base/result.h"
#include "daemon/collect/session_counters.h"

namespace hotpath {

// One session that all captures of its type share. Not thread-safe: Pipeline holds its lock.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  // Does nothing while it runs. Errors: kPermission, kUnsupported, kSystem, as its events have.
  virtual Result<void> Start() = 0;
  virtual void Stop() = 0;
  // As often as the reader comes by. `share`, 0 to 1: of its usual rate, what the budget allows.
  virtual void Tick(double share) = 0;
  // Since the daemon started.
  virtual SessionCounters Counters() const = 0;
};

}  // namespace hotpath
