// Where the time went: a profile against what the program knows and what the kernel counted.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <set>

#include "harness.h"

namespace hotpath::kernel_tests {
namespace {

constexpr int64_t kTickNs = 4'000'000;  // Of /proc/stat's own sampling, at CONFIG_HZ=250.

bool Everything(const StackView&) { return true; }

// How far a sampled sum may be from the truth: `margin` of it, and three standard deviations of the
// sampling. What runs all the time is hit by every tick; what runs a share p of the time is hit
// n p times give or take sqrt(n p (1 - p)): 499 Hz, 5 s, p = 0.1: 250 +- 15 samples, +- 45 at
// three.
double Tolerance(double true_ns, double cpu_share, double period_ns, double margin) {
  return margin * true_ns + 3 * std::sqrt(true_ns * std::max(0.0, 1 - cpu_share) * period_ns);
}

TEST(Accounting, DividesCpuBetweenTwoFunctionsAsTheyUsedIt) {
  const auto program = StartWorkload("ratio");
  const Recording recording = RecordProcess(program->pid(), 999, 4);
  const Selector two = Both(OfPid(program->pid()), WithLeaf("ratio_two"));
  const Selector one = Both(OfPid(program->pid()), WithLeaf("ratio_one"));
  EXPECT_TRUE(StacksMatch(recording.stacks, OfPid(program->pid()),
                          {std::string("ratio_one|ratio_two{0,1} <- ratio_driver <- ") + kFromMain},
                          0.99));
  const double twos = static_cast<double>(CpuNs(recording.stacks, two));
  const double ones = static_cast<double>(CpuNs(recording.stacks, one));
  ASSERT_GT(ones, 0);
  // 2,000 samples and more: one standard deviation of the share is 0.0105 at most.
  EXPECT_NEAR(twos / (twos + ones), 2.0 / 3, 0.035);
}

TEST(Accounting, AgreesWithTheProcessesOwnCpuClock) {
  const auto program = StartWorkload("ratio");
  const Recording recording = RecordProcess(program->pid(), 499, 4);
  ASSERT_GT(recording.profile.duration_ns, 0);
  const double own_ns = static_cast<double>(recording.process_ns.at(program->pid()));
  const double share = own_ns / static_cast<double>(recording.profile.duration_ns);
  EXPECT_NEAR(static_cast<double>(CpuNs(recording.stacks, OfPid(program->pid()))), own_ns,
              Tolerance(own_ns, share, 1e9 / 499, 0.02));
  EXPECT_TRUE(NothingLost(recording.stacks));
}

TEST(Accounting, LocksToNoProgramsPeriod) {
  const auto program = StartWorkload("period");
  const Recording recording = RecordProcess(program->pid(), 499, 8);
  ASSERT_GT(recording.profile.duration_ns, 0);
  const double own_ns = static_cast<double>(recording.process_ns.at(program->pid()));
  const double share = own_ns / static_cast<double>(recording.profile.duration_ns);
  EXPECT_GT(share, 0.05) << "the program itself did not get its 9 %";
  EXPECT_NEAR(static_cast<double>(CpuNs(recording.stacks, OfPid(program->pid()))), own_ns,
              Tolerance(own_ns, share, 1e9 / 499, 0.02));
}

struct TotalsCase {
  int hz;
  double seconds;
};

class Totals : public testing::TestWithParam<TotalsCase> {
 protected:
  // The whole machine against the kernel's account, lost frames included: /proc/stat, or where CPUs
  // sleep (see IdleTotals) what the scheduler charged to threads.
  void ExpectTotal(bool idle = false) {
    RecordOptions options;
    options.hz = GetParam().hz;
    options.seconds = GetParam().seconds;
    const Recording recording = Record(options);
    ASSERT_GT(recording.profile.duration_ns, 0);
    const bool by_scheduler = idle && recording.threads_ns > 0;
    const double busy_ns =
        static_cast<double>(by_scheduler ? recording.threads_ns : recording.busy_ns);
    const double share = busy_ns / static_cast<double>(recording.profile.duration_ns) /
                         static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN));
    const double sum_ns = static_cast<double>(CpuNs(recording.stacks, Everything));
    const double period_ns = 1e9 / options.hz + kTickNs;
    fmt::print(
        "{} Hz, {:.1f} % busy: profile {:.3f} s, {} {:.3f} s, {:+.2f} %; /proc/stat {:.3f} s\n",
        options.hz, 100 * share, sum_ns / 1e9, by_scheduler ? "scheduler" : "/proc/stat",
        busy_ns / 1e9, 100 * (sum_ns - busy_ns) / busy_ns,
        static_cast<double>(recording.busy_ns) / 1e9);
    // One tick of each CPU at each end is what neither side can see.
    const double edges_ns = 2 * period_ns;
    EXPECT_NEAR(sum_ns, busy_ns, Tolerance(busy_ns, share, period_ns, 0.02) + edges_ns);
  }
};

TEST_P(Totals, AgreeWithTheKernelWhenNothingRuns) { ExpectTotal(true); }

TEST_P(Totals, AgreeWithTheKernelWhenEveryCpuIsBusy) {
  std::vector<std::unique_ptr<ChildProcess>> load(
      static_cast<size_t>(sysconf(_SC_NPROCESSORS_ONLN)));
  for (size_t cpu = 0; cpu < load.size(); ++cpu) {
    load[cpu] = StartWorkload(cpu % 2 == 0 ? "ratio" : "exceptions");
  }
  ExpectTotal();
}

// As while a build runs: no CPU is idle.
TEST_P(Totals, AgreeWithTheKernelWhileFiftyProcessesStartEachSecond) {
  std::vector<std::unique_ptr<ChildProcess>> busy(
      static_cast<size_t>(sysconf(_SC_NPROCESSORS_ONLN)));
  for (auto& program : busy) program = StartWorkload("ratio");
  const auto load = StartAndWaitReady(
      {WorkloadPath("short_lives"), WorkloadPath("short_child"), "1000000", "8", "50"});
  load->WriteLine("go");
  ExpectTotal();
}

INSTANTIATE_TEST_SUITE_P(AtEachRate, Totals,
                         testing::Values(TotalsCase{19, 12}, TotalsCase{99, 6}, TotalsCase{999, 5}),
                         [](const auto& info) { return fmt::format("{}Hz", info.param.hz); });

// The same without the busy programs: each CPU sleeps and wakes up hundreds of times a second. What
// is true there is what the scheduler charged to threads. /proc/stat samples busy time by its own
// tick (16 % short to 22 % over), and all but its idle time holds the interrupts of sleeping CPUs.
class IdleTotals : public testing::TestWithParam<TotalsCase> {};

TEST_P(IdleTotals, AgreeWithTheSchedulerWhileFiftyProcessesStartEachSecond) {
  const auto load = StartAndWaitReady(
      {WorkloadPath("short_lives"), WorkloadPath("short_child"), "1000000", "8", "50"});
  load->WriteLine("go");
  RecordOptions options;
  options.hz = GetParam().hz;
  options.seconds = GetParam().seconds;
  const Recording recording = Record(options);
  if (recording.threads_ns == 0) GTEST_SKIP() << "no cpuacct (cgroup v1) to compare with";
  const auto true_ns = static_cast<double>(recording.threads_ns);
  const auto sum_ns = static_cast<double>(CpuNs(recording.stacks, Everything));
  fmt::print("{} Hz: profile {:.3f} s, scheduler {:.3f} s, {:+.2f} %; /proc/stat {:+.2f} %\n",
             options.hz, sum_ns / 1e9, true_ns / 1e9, 100 * (sum_ns / true_ns - 1),
             100 * (static_cast<double>(recording.busy_ns) / true_ns - 1));
  // No sampling error: what samples have not stood for yet is a period or so of each CPU.
  const double period_ns = 1e9 / options.hz;
  EXPECT_NEAR(sum_ns, true_ns,
              0.02 * true_ns + period_ns * static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN)));
}

INSTANTIATE_TEST_SUITE_P(AtEachRate, IdleTotals,
                         testing::Values(TotalsCase{19, 40}, TotalsCase{99, 12},
                                         TotalsCase{999, 16}),
                         [](const auto& info) { return fmt::format("{}Hz", info.param.hz); });

// Bursts of 2 ms for 30 % of the time and of 7 ms for 15 %, on CPUs that sleep otherwise.
TEST(Accounting, DividesAnIdleMachineBetweenShortBurstsAndLongOnes) {
  const auto brief = StartWorkload("bursts", {"0", "2", "0.3"});
  const auto lengthy = StartWorkload("bursts", {"0", "7", "0.15"});
  RecordOptions options;
  options.hz = 499;
  options.seconds = 20;
  options.pids = {brief->pid(), lengthy->pid()};
  const Recording recording = Record(options);
  double profile_ns[2], true_ns[2];
  for (size_t i = 0; i < 2; ++i) {
    profile_ns[i] = static_cast<double>(CpuNs(recording.stacks, OfPid(options.pids[i])));
    true_ns[i] = static_cast<double>(recording.process_ns.at(options.pids[i]));
    ASSERT_GT(true_ns[i], 0);
  }
  const double share = profile_ns[0] / (profile_ns[0] + profile_ns[1]);
  const double true_share = true_ns[0] / (true_ns[0] + true_ns[1]);
  fmt::print(
      "bursts of 2 ms: {:.3f} s of {:.3f}; of 7 ms: {:.3f} s of {:.3f}; share {:.3f} of {:.3f}\n",
      profile_ns[0] / 1e9, true_ns[0] / 1e9, profile_ns[1] / 1e9, true_ns[1] / 1e9, share,
      true_share);
  // 4,500 samples, two thirds of them of one program: one standard deviation is 0.007.
  EXPECT_NEAR(share, true_share, 0.03);
}

TEST(Accounting, ShowsWhatATinyRingLostAsLostFrames) {
  const auto first = StartWorkload("deep", {"0", "400"});
  const auto second = StartWorkload("deep", {"0", "400"});
  RecordOptions options;
  options.hz = 999;
  options.seconds = 5;
  options.extra = {"--ring-bytes", "4096"};
  const Recording recording = Record(options);
  const Selector lost = [](const StackView& stack) { return stack.lost; };
  EXPECT_GT(CpuNs(recording.stacks, lost), 0) << "a ring of 4 KiB held everything";
  const double busy_ns = static_cast<double>(recording.busy_ns);
  EXPECT_NEAR(static_cast<double>(CpuNs(recording.stacks, Everything)), busy_ns,
              Tolerance(busy_ns, 1, 1e9 / 999, 0.02) + 2 * kTickNs);
}

// A thousand processes of 3 ms, of which the profiler knows nothing but what it samples.
void ExpectShortLives(const std::string& child_path, int count) {
  constexpr int kHz = 999;
  const auto driver =
      StartAndWaitReady({WorkloadPath("short_lives"), child_path, std::to_string(count), "3"});
  struct Child {
    long long pid, born_ns, gone_ns, cpu_ns;
  };
  std::vector<Child> children;
  RecordOptions options;
  options.hz = kHz;
  options.seconds = 90;
  options.until_done = [&] {
    driver->WriteLine("go");
    Child child{};
    while (sscanf(driver->ReadLine(std::chrono::seconds(20)).c_str(), "child %lld %lld %lld %lld",
                  &child.pid, &child.born_ns, &child.gone_ns, &child.cpu_ns) == 4) {
      children.push_back(child);
    }
  };
  const Recording recording = Record(options);
  ASSERT_EQ(children.size(), static_cast<size_t>(count));

  // Those that lived while the profiler sampled; it may have begun after the first of them.
  const int64_t from_ns = recording.profile.time_ns;
  const int64_t to_ns = from_ns + recording.profile.duration_ns;
  std::set<int64_t> pids;
  int64_t cpu_ns = 0;
  for (const Child& child : children) {
    if (child.born_ns < from_ns || child.gone_ns > to_ns) continue;
    pids.insert(child.pid);
    cpu_ns += child.cpu_ns;
  }
  EXPECT_GT(pids.size(), children.size() / 2);
  const Selector short_lived = [&pids](const StackView& stack) { return pids.contains(stack.pid); };
  const double expected = static_cast<double>(cpu_ns) * kHz / 1e9;
  const auto seen = static_cast<double>(Samples(recording.stacks, short_lived));
  const double share =
      static_cast<double>(cpu_ns) / static_cast<double>(recording.profile.duration_ns);
  fmt::print(
      "{} of {} processes, {:.2f} s of CPU: {:.0f} samples expected, {} seen, {:.2f} % complete, "
      "{:.2f} % of frames named\n",
      pids.size(), count, static_cast<double>(cpu_ns) / 1e9, expected, seen,
      100 * Share(recording.stacks, short_lived, IsComplete),
      100 * NamedShare(recording.stacks, short_lived));
  // Two standard deviations: what is sampled a share p of the time is hit n p times, give or take
  // sqrt(n p (1 - p)).
  EXPECT_GE(seen, 0.98 * expected - 2 * std::sqrt(expected * std::max(0.0, 1 - share)));
  EXPECT_TRUE(StacksHold(recording.stacks, short_lived, IsComplete, 0.98, "are complete"));
  EXPECT_GE(NamedShare(recording.stacks, short_lived), 0.98);
  const Selector working = Both(short_lived, WithFrame("short_work"));
  EXPECT_TRUE(StacksMatch(recording.stacks, working,
                          {std::string("short_work <- main <- ") +
                           std::string(kFromMain).substr(std::string("main <- ").size())},
                          0.98));
  EXPECT_GT(Share(recording.stacks, short_lived, working), 0.7);
}

TEST(ShortLives, OfAThousandProcessesAreProfiledInFull) {
  ExpectShortLives(WorkloadPath("short_child"), 1000);
}

TEST(ShortLives, OfAFileNeverSeenBeforeAreProfiledInFull) {
  const TemporaryDirectory directory;
  const std::string copy = directory.File("short_child");
  std::filesystem::copy_file(WorkloadPath("short_child"), copy);
  ExpectShortLives(copy, 400);
}

}  // namespace
}  // namespace hotpath::kernel_tests
