// Compares two profiles row by row.
#include "exporters/report/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "exporters/report/csv.h"
#include "exporters/report/unit.h"

namespace hotpath::report {
namespace {

constexpr int64_t kExactEvents = 2000;
constexpr double kNormal95 = 1.959964;
constexpr double kFalseDiscoveryRate = 0.05;

// What one profile knows of one function.
struct RowSum {
  double value = 0;
  double events = 0;
};
using RowSums = std::map<std::string, RowSum>;

// The number of events a sample stands for: its count where the profile has one.
double Events(const View& view, const std::optional<size_t>& count_type,
              const pprof::Sample& sample) {
  if (count_type) return std::abs(static_cast<double>(sample.values[*count_type]));
  return view.Value(sample) == 0 ? 0 : 1;
}

std::string NameOf(const pprof::Profile& profile, const pprof::Location& location, size_t line) {
  NodeInfo info;
  info.address = location.address;
  if (location.lines.empty()) {
    if (location.mapping >= 0) info.object = profile.mappings[location.mapping].file;
    return info.PrintableName();
  }
  const pprof::Function& function = profile.functions[location.lines[line].function];
  info.name = function.name;
  info.file = function.file;
  info.line = location.lines[line].line;
  return info.PrintableName();
}

RowSums SumRows(const View& view, bool by_cum) {
  const pprof::Profile& profile = view.profile;
  std::map<std::string, uint32_t> row_of_name;
  std::vector<std::vector<uint32_t>> rows_of_location;  // Innermost first.
  for (const pprof::Location& location : profile.locations) {
    std::vector<uint32_t>& rows = rows_of_location.emplace_back();
    for (size_t line = 0; line < std::max<size_t>(location.lines.size(), 1); ++line) {
      rows.push_back(row_of_name.try_emplace(NameOf(profile, location, line), row_of_name.size())
                         .first->second);
    }
  }
  std::vector<RowSum> sums(row_of_name.size());
  std::vector<size_t> seen(row_of_name.size());  // Number of the last sample: recursion is once.
  const auto count_type = CountTypeIndex(profile);
  size_t number = 0;
  for (const pprof::Sample& sample : profile.samples) {
    const double events = Events(view, count_type, sample);
    const auto add = [&](uint32_t row) {
      if (std::exchange(seen[row], number) == number) return;
      sums[row].value += static_cast<double>(view.Value(sample));
      sums[row].events += events;
    };
    ++number;
    if (sample.locations.empty()) continue;
    if (!by_cum) {
      add(rows_of_location[sample.locations.front()].front());
      continue;
    }
    for (const uint32_t location : sample.locations) {
      std::ranges::for_each(rows_of_location[location], add);
    }
  }
  RowSums named;
  for (const auto& [name, row] : row_of_name) {
    if (seen[row] != 0) named[name] = sums[row];
  }
  return named;
}

double NormalP(double z) { return std::erfc(std::abs(z) / std::sqrt(2.0)); }

// The largest rank whose p passes its own share of the rate, and all rows before it.
void MarkSignificant(std::vector<DiffRow>& rows) {
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return rows[i].p; });
  size_t passed = 0;
  for (size_t rank = 1; rank <= order.size(); ++rank) {
    const double limit =
        kFalseDiscoveryRate * static_cast<double>(rank) / static_cast<double>(rows.size());
    if (rows[order[rank - 1]].p <= limit) passed = rank;
  }
  for (size_t rank = 0; rank < passed; ++rank) rows[order[rank]].significant = true;
}

DiffRow CompareRow(std::string function, const RowSum& base, const RowSum& now, double scale) {
  DiffRow row;
  row.function = std::move(function);
  row.base = base.value * scale;
  row.new_value = now.value;
  row.delta = row.new_value - row.base;
  const double base_weight = base.events > 0 ? row.base / base.events : 0;  // Value of one event.
  const double new_weight = now.events > 0 ? now.value / now.events : 0;
  const double variance =
      base.events * base_weight * base_weight + now.events * new_weight * new_weight;
  row.interval_low = row.delta - kNormal95 * std::sqrt(variance);
  row.interval_high = row.delta + kNormal95 * std::sqrt(variance);
  // Events of one weight make the counts speak for the values; else only the variance does.
  const bool same_weight =
      base.events == 0 || now.events == 0 ||
      std::abs(base_weight / scale - new_weight) <= 0.01 * std::abs(new_weight);
  if (same_weight && base.events + now.events <= static_cast<double>(kExactEvents)) {
    row.p = PoissonRatioP(std::llround(base.events), std::llround(now.events), 1 / (1 + scale));
  } else {
    row.p = variance > 0 ? NormalP(row.delta / std::sqrt(variance)) : 1;
  }
  return row;
}

std::string Signed(double value, const std::string& unit) {
  const std::string label = ScaledLabel(std::llround(value), unit, "auto");
  return value > 0 && label != "0" ? "+" + label : label;
}

}  // namespace

double PoissonRatioP(int64_t base, int64_t new_count, double base_share) {
  const int64_t n = base + new_count;
  if (n <= 0) return 1;
  const double log_share = std::log(base_share), log_rest = std::log1p(-base_share);
  const auto log_probability = [&](int64_t k) {
    const auto events = static_cast<double>(k), all = static_cast<double>(n);
    return std::lgamma(all + 1) - std::lgamma(events + 1) - std::lgamma(all - events + 1) +
           events * log_share + (all - events) * log_rest;
  };
  // Every outcome that is no more likely than the one seen; the slack absorbs rounding.
  const double limit = log_probability(base) + 1e-7;
  double p = 0;
  for (int64_t k = 0; k <= n; ++k) {
    if (const double log_p = log_probability(k); log_p <= limit) p += std::exp(log_p);
  }
  return std::min(p, 1.0);
}

Result<Diff> Compare(pprof::Profile base, pprof::Profile new_profile, const DiffOptions& options) {
  auto base_view = MakeView(std::move(base), options.view);
  if (!base_view) return std::unexpected(base_view.error());
  auto new_view = MakeView(std::move(new_profile), options.view);
  if (!new_view) return std::unexpected(new_view.error());
  if (base_view->type != new_view->type || base_view->unit != new_view->unit) {
    return Fail(ErrorCode::kInvalidArgument,
                fmt::format("the base measures {}/{}, the other profile {}/{}: name one they share "
                            "with --sample-type",
                            base_view->type, base_view->unit, new_view->type, new_view->unit));
  }
  Diff diff;
  diff.type = new_view->type;
  diff.unit = new_view->unit;
  diff.remarks = new_view->remarks;
  double scale = 1;
  const int64_t base_ns = base_view->profile.duration_ns, new_ns = new_view->profile.duration_ns;
  if (base_ns > 0 && new_ns > 0) {
    scale = static_cast<double>(new_ns) / static_cast<double>(base_ns);
  } else {
    diff.remarks.emplace_back("a profile has no duration: values are compared as they are");
  }
  const RowSums base_rows = SumRows(*base_view, options.by_cum);
  const RowSums new_rows = SumRows(*new_view, options.by_cum);
  std::set<std::string> names;
  for (const auto* rows : {&base_rows, &new_rows}) {
    for (const auto& [name, sum] : *rows) names.insert(name);
  }
  const auto find = [](const RowSums& rows, const std::string& name) {
    const auto row = rows.find(name);
    return row == rows.end() ? RowSum{} : row->second;
  };
  for (const std::string& name : names) {
    diff.rows.push_back(CompareRow(name, find(base_rows, name), find(new_rows, name), scale));
  }
  MarkSignificant(diff.rows);
  std::ranges::stable_sort(diff.rows, [](const DiffRow& left, const DiffRow& right) {
    return std::abs(left.delta) > std::abs(right.delta);
  });
  if (options.row_count > 0 && diff.rows.size() > options.row_count) {
    diff.rows.resize(options.row_count);
  }
  diff.base_total = static_cast<double>(base_view->total) * scale;
  diff.new_total = static_cast<double>(new_view->total);
  return diff;
}

std::string DiffText(const Diff& diff) {
  const auto label = [&](double value) {
    return ScaledLabel(std::llround(value), diff.unit, "auto");
  };
  std::string text =
      fmt::format("Type: {}\nTotal: {} -> {} ({})\n", diff.type, label(diff.base_total),
                  label(diff.new_total), Signed(diff.new_total - diff.base_total, diff.unit));
  text += fmt::format("{:>10} {:>10} {:>10} {:>23} {:>7}    function (* = more than noise)\n",
                      "base", "new", "delta", "95% interval", "p");
  for (const DiffRow& row : diff.rows) {
    text += fmt::format("{:>10} {:>10} {:>10} {:>23} {:>7.2g}  {} {}\n", label(row.base),
                        label(row.new_value), Signed(row.delta, diff.unit),
                        fmt::format("[{}, {}]", Signed(row.interval_low, diff.unit),
                                    Signed(row.interval_high, diff.unit)),
                        row.p, row.significant ? '*' : ' ', row.function);
  }
  return text;
}

Json DiffJson(const Diff& diff) {
  Json json;
  json["sample_type"] = diff.type;
  json["unit"] = diff.unit;
  json["base_total"] = diff.base_total;
  json["new_total"] = diff.new_total;
  json["rows"] = Json::array();
  for (const DiffRow& row : diff.rows) {
    json["rows"].push_back(
        Json{{"function", row.function},
             {"base", row.base},
             {"new", row.new_value},
             {"delta", row.delta},
             {"delta_interval95", Json::array({row.interval_low, row.interval_high})},
             {"p", row.p},
             {"significant", row.significant}});
  }
  return json;
}

std::string DiffCsv(const Diff& diff) {
  std::string csv =
      CsvRow("function", "base", "new", "delta", "delta_low", "delta_high", "p", "significant");
  for (const DiffRow& row : diff.rows) {
    csv += CsvRow(row.function, row.base, row.new_value, row.delta, row.interval_low,
                  row.interval_high, row.p, row.significant);
  }
  return csv;
}

}  // namespace hotpath::report
