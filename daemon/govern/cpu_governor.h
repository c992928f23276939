// How often to sample and how fast to read files, so that we stay within our CPU budget.
#pragma once

#include <cstdint>

namespace hotpath {

struct CpuPlan {
  int hz = 0;               // Of the always-on session.
  bool slow_files = false;  // Pause between files.
  friend bool operator==(const CpuPlan&, const CpuPlan&) = default;
};

// The budget is an account: each second pays in its share, what we use is taken out. It holds ten
// minutes at most and starts full, so that reading the files of a fresh machine (some seconds of
// CPU) is paid for. When it is empty the always-on rate is halved, every 5 s while that lasts: 19,
// 9, 4, 2, 1 Hz, and files are read with pauses. A rate goes up again when twice the CPU of the
// last half minute would fit. At 1 % of a CPU: 6 s in the account; a use of 2 % empties it in 10
// min.
//
// Arithmetic only: no clock, no thread.
class CpuGovernor {
 public:
  static constexpr double kAccount_s = 600;
  static constexpr double kLowerEvery_s = 5;
  static constexpr double kRaiseEvery_s = 30;

  // `budget_ratio`: of one CPU. 0: no budget, so nothing ever changes.
  CpuGovernor(double budget_ratio, int wanted_hz);

  // `seconds` have passed, in which we used `used_s` of CPU. Call it about once a second.
  CpuPlan Step(double seconds, double used_s);

  double used_ratio() const { return recent_ratio_; }  // Mean of the last half minute.
  uint64_t lowered() const { return lowered_; }        // Times that the rate was halved.

 private:
  const double budget_ratio_;
  const int wanted_hz_;
  double account_s_;  // CPU time we may still use; negative when we used more.
  double recent_ratio_ = 0;
  double unchanged_s_ = kRaiseEvery_s;
  int halvings_ = 0;
  uint64_t lowered_ = 0;
};

}  // namespace hotpath
