// What changed between two profiles, and whether it is more than sampling noise.
#pragma once

#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "exporters/report/header.h"

namespace hotpath::report {

// The model. A sampling profiler sees each function's events as a Poisson process: a row with n
// events of value v each has a total of n*v and a variance of n*v^2. What is compared is the two
// rates, both brought to the new profile's duration:
//
//   delta = new - base * (duration_new / duration_base),
//   variance = sum of the rows' value^2 / events, the base's times the duration ratio squared,
//   interval = delta -+ 1.96 * sqrt(variance).
//
// p is the chance of a change at least as large when both rates are the same. Given n = n_base +
// n_new events, n_new is then binomial(n, d_new / (d_base + d_new)): the exact two-sided test is
// used up to 2,000 events, the normal approximation beyond.
//
// Example: 40 samples of 10 ms in 10 s before, 70 in 10 s after. delta = +300 ms, interval
// 300 -+ 1.96 * 10 * sqrt(110) = [94, 506] ms, p = 0.0056.
//
// `significant` controls the false discoveries of the whole table at 5 % (Benjamini-Hochberg), as a
// profile has thousands of rows and 5 % of them would look changed by chance. The model knows the
// noise of sampling, not that of the work: compare runs of the same load.
struct DiffRow {
  std::string function;
  double base = 0, new_value = 0, delta = 0;  // In the value's unit, at the new duration.
  double interval_low = 0, interval_high = 0;
  double p = 1;
  bool significant = false;
};
struct Diff {
  std::string type, unit;
  double base_total = 0, new_total = 0;
  std::vector<DiffRow> rows;         // Largest |delta| first.
  std::vector<std::string> remarks;  // "durations unknown: not normalised"
};

struct DiffOptions {
  ViewOptions view;
  bool by_cum = false;
  size_t row_count = 0;  // 0: all. Cut after the significance of all rows is known.
};

// Errors: MakeView's; kInvalidArgument when the chosen values differ in type or unit.
Result<Diff> Compare(pprof::Profile base, pprof::Profile new_profile, const DiffOptions& options);

// Two-sided exact test: `base` of `base + new_count` events fell in a share `base_share` of the
// time. 1 for no events.
double PoissonRatioP(int64_t base, int64_t new_count, double base_share);

std::string DiffText(const Diff& diff);
Json DiffJson(const Diff& diff);
std::string DiffCsv(const Diff& diff);

}  // namespace hotpath::report
