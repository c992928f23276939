// The text of /metrics, and promtool's opinion of it.
#include "exporters/prometheus/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "exporters/prometheus/process_metrics.h"

namespace hotpath {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Type = MetricFamily::Type;

class FakeSource : public MetricsSource {
 public:
  explicit FakeSource(std::vector<MetricFamily> families) : families_(std::move(families)) {}
  std::vector<MetricFamily> Collect() override { return families_; }

 private:
  std::vector<MetricFamily> families_;
};

std::string TextOf(std::vector<std::vector<MetricFamily>> sources) {
  std::vector<std::shared_ptr<MetricsSource>> fakes;
  for (auto& families : sources) fakes.push_back(std::make_shared<FakeSource>(std::move(families)));
  return Metrics(std::move(fakes)).Text();
}

const MetricFamily kLost{.name = "hotpathd_lost_samples_total",
                         .help = "Samples that did not reach user space.",
                         .type = Type::kCounter,
                         .samples = {{{{"reason", "throttled"}}, 3}, {{{"reason", "busy"}}, 0}}};

TEST(MetricsTest, FamiliesAreWrittenWithHelpTypeAndLabels) {
  EXPECT_EQ(TextOf({{kLost}}),
            "# HELP hotpathd_lost_samples_total Samples that did not reach user space.\n"
            "# TYPE hotpathd_lost_samples_total counter\n"
            "hotpathd_lost_samples_total{reason=\"throttled\"} 3\n"
            "hotpathd_lost_samples_total{reason=\"busy\"} 0\n");
}

TEST(MetricsTest, TheResponseHasTheVersionedType) {
  Metrics metrics({std::make_shared<FakeSource>(std::vector{kLost})});
  const HttpResponse response = metrics.Handle({});
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.content_type, "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(response.body, metrics.Text());
}

TEST(MetricsTest, FamiliesOfOneNameAreJoinedAndASeriesIsThereOnce) {
  MetricFamily other = kLost;
  other.samples = {{{{"reason", "busy"}}, 9}, {{{"reason", "map full"}}, 1}};
  const std::string text = TextOf({{kLost}, {other}});
  EXPECT_EQ(text.find("# HELP"), text.rfind("# HELP"));
  EXPECT_THAT(text, AllOf(HasSubstr("{reason=\"busy\"} 0\n"),
                          HasSubstr("{reason=\"map full\"} 1\n"), Not(HasSubstr("} 9"))));
}

TEST(MetricsTest, NothingASourceSaysBreaksTheText) {
  const std::string text = TextOf({{{.name = "9 bad-name",
                                     .help = "two\nlines \\ and \xff",
                                     .type = Type::kGauge,
                                     .samples = {{{{"la-bel", "a\"b\\c\nd\xfe"}}, 1.5}}},
                                    {.name = "empty", .help = "", .samples = {}}}});
  EXPECT_EQ(text,
            "# HELP _9_bad_name two\\nlines \\\\ and \xef\xbf\xbd\n"
            "# TYPE _9_bad_name gauge\n"
            "_9_bad_name{la_bel=\"a\\\"b\\\\c\\nd\xef\xbf\xbd\"} 1.5\n");
}

double ValueOf(const std::vector<MetricFamily>& families, const std::string& name) {
  for (const MetricFamily& family : families) {
    if (family.name == name) return family.samples.at(0).value;
  }
  return -1;
}

TEST(ProcessMetricsTest, TheyAreThisProcesss) {
  const std::vector<MetricFamily> families = ProcessMetrics().Collect();
  EXPECT_GT(ValueOf(families, "process_resident_memory_bytes"), 1 << 20);
  EXPECT_GE(ValueOf(families, "process_cpu_seconds_total"), 0);
  EXPECT_GE(ValueOf(families, "process_open_fds"), 3);
  EXPECT_GE(ValueOf(families, "process_max_fds"), ValueOf(families, "process_open_fds"));
  EXPECT_GE(ValueOf(families, "process_threads"), 1);
  const double start = ValueOf(families, "process_start_time_seconds");
  EXPECT_NEAR(start, static_cast<double>(::time(nullptr)), 600);
}

TEST(ProcessMetricsTest, WhatCannotBeReadIsLeftOut) {
  const std::vector<MetricFamily> families = ProcessMetrics("/nonexistent").Collect();
  EXPECT_EQ(ValueOf(families, "process_cpu_seconds_total"), -1);
  EXPECT_EQ(ValueOf(families, "process_open_fds"), -1);
}

TEST(MetricsTest, PromtoolFindsNothingToSay) {
  if (std::system("command -v promtool >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "promtool is not installed (package prometheus)";
  }
  const std::string text =
      Metrics(
          {std::make_shared<FakeSource>(std::vector{
               kLost, MetricFamily{.name = "hotpathd_build_info",
                                   .help = "Build metadata; the value is always 1.\nSecond line.",
                                   .type = Type::kGauge,
                                   .samples = {{{{"version", "0.1.0"}}, 1}}}}),
           std::make_shared<ProcessMetrics>()})
          .Text();
  std::string pattern = (std::filesystem::temp_directory_path() / "metrics_XXXXXX").string();
  const int fd = ::mkstemp(pattern.data());
  ASSERT_GE(fd, 0);
  ::close(fd);
  std::ofstream(pattern) << text;
  FILE* pipe = ::popen(("promtool check metrics < '" + pattern + "' 2>&1").c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string said;
  std::array<char, 4096> buffer;
  while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe)) {
    said.append(buffer.data(), count);
  }
  EXPECT_EQ(::pclose(pipe), 0);
  EXPECT_EQ(said, "") << text;
  std::filesystem::remove(pattern);
}

}  // namespace
}  // namespace hotpath
