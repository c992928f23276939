// Memory growth: a program that touches a known number of pages, from known places.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <string>

#include "harness.h"

namespace hotpath::kernel_tests {
namespace {

constexpr int64_t kPageBytes = 4096;
constexpr int64_t kRounds = 40'000;

// Faults of all processes since boot.
int64_t FaultsOfAll() {
  std::ifstream file("/proc/vmstat");
  std::string name;
  int64_t value = 0;
  while (file >> name >> value) {
    if (name == "pgfault") return value;
  }
  return 0;
}

// What a profile of memory growth says of one function and what it calls.
struct Site {
  int64_t faults = 0, bytes = 0, rows = 0, whole = 0;
};

std::map<std::string, Site> ReadSites(const Recording& recording) {
  std::map<std::string, Site> sites;
  for (size_t i = 0; i < recording.stacks.size(); i++) {
    const StackView& stack = recording.stacks[i];
    std::string name = "other";
    for (const FrameView& frame : stack.frames) {
      if (frame.function.starts_with("grow_") || frame.function == "reserve_only") {
        name = frame.function;
      }
    }
    Site& site = sites[name];
    const int64_t faults = recording.profile.samples.at(i).values.at(0);
    site.faults += faults;
    site.bytes += recording.profile.samples.at(i).values.at(1);
    site.rows++;
    // Until the new program's table was built is not what this is about.
    if (IsComplete(stack) || stack.cut == "table pending") site.whole += faults;
  }
  return sites;
}

// The raw number of samples, from the comment "samples=N".
double SampleCount(const pprof::Profile& profile) {
  for (const std::string& comment : profile.comments) {
    if (comment.starts_with("samples=")) return std::stod(comment.substr(8));
  }
  return 0;
}

TEST(MemoryGrowth, IsThatOfThePagesTouchedByThoseWhoTouchedThem) {
  RecordOptions options;
  options.seconds = 60;  // Ends with the program.
  options.extra = {"-t", "memory_growth", "--", WorkloadPath("memory_growth"),
                   std::to_string(kRounds)};
  const int64_t all_before = FaultsOfAll();
  const Recording recording = Record(options);
  const auto all = static_cast<double>(FaultsOfAll() - all_before);
  ASSERT_EQ(recording.profile.sample_types.size(), 2U);
  EXPECT_EQ(recording.profile.sample_types.at(0), (pprof::ValueType{"faults", "count"}));
  EXPECT_EQ(recording.profile.sample_types.at(1), (pprof::ValueType{"growth_space", "bytes"}));
  EXPECT_GE(recording.profile.period, 1);

  std::map<std::string, Site> sites = ReadSites(recording);
  // Those of the first half second stand for little.
  const double samples = 0.6 * SampleCount(recording.profile);
  ASSERT_GT(samples, 40);
  const double truth = 80.0 * kRounds;
  Site sum;
  for (const auto& [name, site] : sites) {
    fmt::print("{}: {} faults, {:+.1f} % of the truth\n", name, site.faults,
               100 * (static_cast<double>(site.faults) / truth));
    sum.faults += site.faults;
    sum.bytes += site.bytes;
    sum.whole += site.whole;
  }
  // Ticks are taken in turn, whoever's they are: only the faults of others scatter the sum.
  const double others = std::max(0.0, 1 - truth / all);
  const double scatter = 4 * std::sqrt(others / samples);
  fmt::print(
      "{:.0f} samples, others have {:.1f} % of the faults: {:+.2f} %, allowed 5 + {:.2f} %\n",
      samples, 100 * others, 100 * (static_cast<double>(sum.faults) / truth - 1), 100 * scatter);
  EXPECT_NEAR(static_cast<double>(sum.faults), truth, (0.05 + scatter) * truth);
  EXPECT_EQ(sum.bytes, sum.faults * kPageBytes);
  EXPECT_GE(static_cast<double>(sum.whole), 0.98 * static_cast<double>(sum.faults));

  const auto share = [&](const char* name) {
    return static_cast<double>(sites[name].faults) / static_cast<double>(sum.faults);
  };
  const auto margin = [&](double p) { return 0.03 + 4 * std::sqrt(p * (1 - p) / samples); };
  EXPECT_NEAR(share("grow_three"), 0.6, margin(0.6));
  EXPECT_NEAR(share("grow_one"), 0.2, margin(0.2));
  EXPECT_NEAR(share("grow_by_read"), 0.2, margin(0.2));
  EXPECT_EQ(sites["reserve_only"].rows, 0) << "mapped, never touched";
}

TEST(MemoryGrowth, OfAProcessThatOnlyComputesIsNothing) {
  const std::unique_ptr<ChildProcess> program = StartWorkload("ratio");
  RecordOptions options;
  options.pids = {program->pid()};
  options.extra = {"-t", "memory_growth"};
  const Recording recording = Record(options);
  EXPECT_TRUE(recording.profile.samples.empty());
}

}  // namespace
}  // namespace hotpath::kernel_tests
