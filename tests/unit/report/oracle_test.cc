// Our text against that of Go's pprof, where it is installed, and against golden files everywhere.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "exporters/report/listing.h"
#include "exporters/report/tags.h"
#include "exporters/report/top.h"
#include "exporters/report/traces.h"
#include "exporters/report/tree.h"
#include "profile_builder.h"

namespace hotpath::report {
namespace {

// Recursion, inlining, kernel frames, labels of both kinds, a thin function that is trimmed away.
pprof::Profile Sample() {
  return ProfileBuilder()
      .Add({"hash<insert", "work", "main"}, 420, {Text("comm", "app"), Number("pid", 12)})
      .Add({"insert", "work", "main"}, 77, {Text("comm", "app"), Number("pid", 12)})
      .Add({"walk", "walk", "walk", "main"}, 133, {Text("comm", "walker"), Number("pid", 31)})
      .Add({"[kernel]copy", "[kernel]sys_write", "write", "work", "main"}, 250,
           {Text("comm", "app"), Number("pid", 12), Number("bytes", 4096, "bytes")})
      .Add({"rare", "main"}, 1, {Text("comm", "app")})
      .Comment("host=test hz=100 lost=0")
      .Build();
}

std::string GoPprof() {
  for (const char* path :
       {"/usr/lib/go-1.19/pkg/tool/linux_amd64/pprof", "/usr/lib/go/pkg/tool/linux_amd64/pprof"}) {
    if (std::filesystem::exists(path)) return path;
  }
  return "";
}

// Lines as words; the time's line, whose form differs between versions of pprof, is left out.
std::vector<std::vector<std::string>> Cells(const std::string& text) {
  std::vector<std::vector<std::string>> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("Time: ")) continue;
    std::istringstream words(line);
    std::vector<std::string> cells;
    for (std::string word; words >> word;) cells.push_back(word);
    if (!cells.empty()) lines.push_back(std::move(cells));
  }
  return lines;
}

struct OracleCase {
  const char *name, *flags;
  ViewOptions view;
  TrimOptions trim;
  enum class Report { kTop, kTree, kPeek, kTraces, kTags, kRaw } report;
};

std::string Ours(const OracleCase& test) {
  const pprof::Profile profile = Compact(Sample());
  if (test.report == OracleCase::Report::kRaw) return RawText(profile);
  const auto view = MakeView(profile, test.view);
  if (!view) return view.error().message;
  switch (test.report) {
    case OracleCase::Report::kTop:
      return TopText(*view, test.trim);
    case OracleCase::Report::kTree:
      return TreeText(*view, test.trim, "").value_or("");
    case OracleCase::Report::kPeek:
      return TreeText(*view, {}, "work|walk").value_or("");
    case OracleCase::Report::kTraces:
      return TracesText(*view);
    case OracleCase::Report::kTags:
      return TagsText(*view);
    case OracleCase::Report::kRaw:
      break;
  }
  return "";
}

std::vector<OracleCase> Cases() {
  using enum OracleCase::Report;
  TrimOptions all{false, 0, 0.005, 0.001}, cum{true, 0, 0.005, 0.001}, five{false, 5, 0.005, 0.001};
  ViewOptions plain, line, file, address, focus, tag, root, hide, count;
  line.by = Granularity::kLine;
  file.by = Granularity::kFile;
  address.by = Granularity::kAddress;
  focus.focus = "work";
  focus.ignore = "copy";
  tag.tag_focus = {"pid=10:20"};
  root.tag_root = {"comm", "pid"};
  hide.hide = "work";
  count.sample_type = "samples";
  return {{"top", "-top", plain, all, kTop},
          {"top_cum", "-top -cum", plain, cum, kTop},
          {"top_five", "-top -nodecount=5", plain, five, kTop},
          {"top_line", "-top -lines", line, all, kTop},
          {"top_file", "-top -files", file, all, kTop},
          {"top_address", "-top -addresses", address, all, kTop},
          {"top_focus", "-top -focus=work -ignore=copy", focus, all, kTop},
          {"top_tag", "-top -tagfocus=pid=10:20", tag, all, kTop},
          {"top_root", "-top -tagroot=comm,pid", root, all, kTop},
          {"top_hide", "-top -hide=work", hide, all, kTop},
          {"top_count", "-top -sample_index=samples", count, all, kTop},
          {"tree", "-tree", plain, all, kTree},
          {"tree_five", "-tree -nodecount=5", plain, five, kTree},
          {"peek", "-peek='work|walk'", plain, all, kPeek},
          {"traces", "-traces -functions", plain, all, kTraces},
          {"tags", "-tags", plain, all, kTags},
          {"raw", "-raw", plain, all, kRaw}};
}

class Oracle : public testing::TestWithParam<OracleCase> {};

TEST_P(Oracle, SaysWhatGoPprofSays) {
  if (GoPprof().empty()) GTEST_SKIP() << "no Go pprof on this machine";
  const std::string directory = testing::TempDir() + "hotpath_oracle_" + std::to_string(getpid());
  std::filesystem::create_directories(directory);
  const std::string path = directory + "/profile.pb.gz";
  std::ofstream(path, std::ios::binary) << pprof::EncodeGzip(Sample());
  const std::string command = "PPROF_TMPDIR=" + directory + " " + GoPprof() + " " +
                              GetParam().flags + " -symbolize=none " + path + " 2>/dev/null";
  std::string theirs;
  FILE* pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  char buffer[4096];
  for (size_t size; (size = fread(buffer, 1, sizeof buffer, pipe)) > 0;)
    theirs.append(buffer, size);
  ASSERT_EQ(pclose(pipe), 0);
  std::filesystem::remove_all(directory);
  auto expected = Cells(theirs), actual = Cells(Ours(GetParam()));
  if (GetParam().report == OracleCase::Report::kRaw) {
    // Go cuts the text of a duration at four characters.
    const auto is_duration = [](const auto& line) { return line[0] == "Duration:"; };
    std::erase_if(expected, is_duration);
    std::erase_if(actual, is_duration);
  }
  EXPECT_EQ(actual, expected) << Ours(GetParam()) << "\n-- pprof --\n" << theirs;
}

// HOTPATH_UPDATE_GOLDEN=1 writes the files anew.
TEST_P(Oracle, IsTheGoldenFile) {
  setenv("TZ", "UTC", 1);
  tzset();
  const std::string path =
      std::string(HOTPATH_SOURCE_DIR) + "/tests/golden/report_" + GetParam().name + ".txt";
  const std::string text = Ours(GetParam());
  if (getenv("HOTPATH_UPDATE_GOLDEN")) std::ofstream(path) << text;
  std::ifstream file(path);
  ASSERT_TRUE(file) << path;
  const std::string golden{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(text, golden);
}

INSTANTIATE_TEST_SUITE_P(Reports, Oracle, testing::ValuesIn(Cases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(TopJson, HasTheKeysOfTheContract) {
  const auto view = MakeView(Sample(), {});
  const Json json = TopJson(*view, {});
  EXPECT_EQ(json["profile_type"], "cpu");
  EXPECT_EQ(json["sample_type"], "cpu");
  EXPECT_EQ(json["unit"], "nanoseconds");
  EXPECT_EQ(json["period"], 10'000'000);
  EXPECT_EQ(json["start_ns"], 1'700'000'000'000'000'000);
  EXPECT_EQ(json["duration_ns"], 10'000'000'000);
  EXPECT_EQ(json["total"], 8'810'000'000);
  EXPECT_EQ(json["samples"], 881);
  EXPECT_TRUE(json["interval95"].is_null());
  const Json& row = json["rows"][0];
  EXPECT_EQ(row["function"], "hash");
  EXPECT_EQ(row["system_function"], "hash");
  EXPECT_EQ(row["mapping"], "/usr/bin/app");
  EXPECT_EQ(row["build_id"], "aa11");
  EXPECT_EQ(row["flat"], 4'200'000'000);
  EXPECT_NEAR(row["flat_ratio"], 0.4767, 1e-4);
  EXPECT_EQ(row["cum"], 4'200'000'000);
  EXPECT_TRUE(row.contains("file") && row.contains("line") && row.contains("interval95"));
}

TEST(TopJson, TheIntervalOfAnEstimateComesFromItsComment) {
  const auto view =
      MakeView(ProfileBuilder().Add({"main"}, 1).Comment("duty=0.1 interval95=10,inf").Build(), {});
  EXPECT_EQ(TopJson(*view, {})["interval95"], Json::array({10.0, nullptr}));
}

TEST(TopCsv, QuotesNamesWithCommas) {
  const auto view = MakeView(ProfileBuilder().Add({"pair(int, int)"}, 1).Build(), {});
  EXPECT_NE(TopCsv(*view, {}).find("\n\"pair(int, int)\",\"pair(int, int)\","), std::string::npos)
      << TopCsv(*view, {});
}

TEST(List, ShowsTheSourceAroundTheSampledLine) {
  ViewOptions options;
  options.by = Granularity::kLine;
  const auto view = MakeView(ProfileBuilder().Add({"main"}, 2).Build(), options);
  const SourceReader sources = [](const std::string&) -> Result<std::vector<std::string>> {
    return std::vector<std::string>{"1", "2", "int main() {", "4", "5", "6", "  spin();", "8", "9"};
  };
  EXPECT_EQ(ListText(*view, "^main$", sources).value(),
            "Total: 20ms\n"
            "ROUTINE ======================== main in /src/main.c\n"
            "      20ms       20ms (flat, cum)   100% of Total\n"
            "         .          .      3:int main() {\n"
            "         .          .      4:4\n"
            "         .          .      5:5\n"
            "         .          .      6:6\n"
            "      20ms       20ms      7:  spin();\n"
            "         .          .      8:8\n"
            "         .          .      9:9\n");
}

TEST(List, SaysWhereItLookedWhenTheSourceIsNotHere) {
  ViewOptions options;
  options.by = Granularity::kLine;
  const auto view = MakeView(ProfileBuilder().Add({"main"}, 2).Build(), options);
  const std::string text = ListText(*view, "main", DiskSources("")).value();
  EXPECT_NE(text.find(" Error: no file /src/main.c here; --source-path DIR"), std::string::npos)
      << text;
  EXPECT_FALSE(ListText(*view, "absent", DiskSources("")).has_value());
}

TEST(List, FindsASourceByTheTailOfItsPath) {
  const std::string directory = testing::TempDir() + "hotpath_list_" + std::to_string(getpid());
  std::filesystem::create_directories(directory + "/lib");
  std::ofstream(directory + "/lib/a.c") << "one\ntwo\r\n";
  const auto lines = DiskSources("/nowhere:" + directory)("/build/x/lib/a.c");
  std::filesystem::remove_all(directory);
  ASSERT_TRUE(lines.has_value()) << lines.error().message;
  EXPECT_EQ(*lines, (std::vector<std::string>{"one", "two"}));
}

}  // namespace
}  // namespace hotpath::report
