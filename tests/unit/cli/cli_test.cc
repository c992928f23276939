// The program from its arguments to its exit code.
#include "exporters/cli/cli.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace hotpath::cli {
namespace {

struct Outcome {
  int code = -1;
  std::string out, err;
};

class Cli : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "hotpath_cli_" + std::to_string(getpid());
    std::filesystem::create_directories(directory_ + "/proc/42");
    context_.proc_root = directory_ + "/proc";
    context_.source.daemon_socket = directory_ + "/no.sock";
    context_.source.daemon_url = "http://127.0.0.1:1";  // Nothing listens on port 1.
    context_.host.root = directory_;
    pprof::Profile profile;
    profile.sample_types = {{"samples", "count"}, {"cpu", "nanoseconds"}};
    profile.duration_ns = 1'000'000'000;
    profile.functions = {{"main", "main", "/src/main.c", 1}, {"lib.so+0x10", "", "", 0}};
    profile.locations = {{-1, 16, {{0, 1}}}, {-1, 32, {{1, 0}}}};
    profile.samples = {{{0}, {3, 3'000'000}, {{"comm", "app", 0, ""}}},
                       {{1, 0}, {1, 1'000'000}, {}}};
    file_ = directory_ + "/p.pb.gz";
    std::ofstream(file_, std::ios::binary) << pprof::EncodeGzip(profile);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  Outcome Run(std::vector<const char*> words) {
    words.insert(words.begin(), "hotpath");
    std::ostringstream out, err;
    context_.out = &out;
    context_.err = &err;
    Outcome outcome;
    outcome.code = RunCli(static_cast<int>(words.size()), words.data(), context_);
    outcome.out = out.str();
    outcome.err = err.str();
    return outcome;
  }

  CliContext context_;
  std::string directory_, file_;
};

TEST_F(Cli, TopPrintsTheResultAndNothingElse) {
  const Outcome outcome = Run({"top", file_.c_str()});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_NE(outcome.out.find("3ms 75.00% 75.00%        4ms   100%  main\n"), std::string::npos)
      << outcome.out;
  EXPECT_EQ(outcome.err, "");
}

TEST_F(Cli, EveryReportSpeaksTextJsonAndCsv) {
  for (const char* command : {"top", "tree", "traces", "tags", "raw", "flame", "quality"}) {
    for (const char* format : {"text", "json", "csv"}) {
      const Outcome outcome = Run({command, "--format", format, file_.c_str()});
      EXPECT_EQ(outcome.code, 0) << command << " " << format << outcome.err;
      EXPECT_FALSE(outcome.out.empty()) << command << " " << format;
      EXPECT_EQ(nlohmann::json::accept(outcome.out), std::string_view(format) == "json")
          << command << " " << format;
    }
  }
  for (const char* command : {"list", "peek"}) {
    const Outcome outcome = Run({command, "main", "--format", "json", file_.c_str()});
    EXPECT_EQ(outcome.code, 0) << command;
    EXPECT_TRUE(nlohmann::json::accept(outcome.out)) << command;
  }
  EXPECT_EQ(Run({"diff", "--format", "json", file_.c_str(), file_.c_str()}).code, 0);
}

TEST_F(Cli, ARepeatedFlagDoesNotSwallowTheSource) {
  EXPECT_EQ(Run({"top", "--tagfocus", "comm=app", "--tagignore", "comm=x", file_.c_str()}).code, 0);
}

TEST_F(Cli, HelpTeachesAndSucceeds) {
  const Outcome outcome = Run({"top", "--help"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_NE(outcome.out.find("Examples:"), std::string::npos);
  EXPECT_EQ(Run({"--help"}).code, 0);
  EXPECT_EQ(Run({"--version"}).out, "hotpath 0.1.0\n");
}

TEST_F(Cli, WrongUsageIsOneLineAndExit2) {
  for (const auto& words : std::vector<std::vector<const char*>>{{},
                                                                 {"frobnicate"},
                                                                 {"advise"},
                                                                 {"top", "--nope"},
                                                                 {"list"},
                                                                 {"top", "--by", "colour", "x"},
                                                                 {"top", "-d", "soon", "x"},
                                                                 {"top", "x", "--", "ls"},
                                                                 {"record", "--"},
                                                                 {"record", "-F", "1000"},
                                                                 {"record", "-p", "42", "--", "ls"},
                                                                 {"record", "--comm", "("}}) {
    const Outcome outcome = Run(words);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }
}

TEST_F(Cli, TheUsersErrorsSayWhatToDoAndExit1) {
  EXPECT_EQ(Run({"top", "/nowhere.pb.gz"}).err,
            "hotpath top: no file /nowhere.pb.gz: give a profile (.pb.gz) or a URL "
            "(http://host:7878)\n");
  const std::string text = directory_ + "/text";
  std::ofstream(text) << "hello\n";
  const Outcome outcome = Run({"top", text.c_str()});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(outcome.err.starts_with("hotpath top: " + text + " is no profile: ")) << outcome.err;
  const Outcome daemon = Run({"top"});
  EXPECT_EQ(daemon.code, 1);
  EXPECT_NE(daemon.err.find("start hotpathd"), std::string::npos) << daemon.err;
  EXPECT_EQ(Run({"list", "absent", file_.c_str()}).code, 1);
}

TEST_F(Cli, AGateThatFailsIsExit3) {
  const Outcome outcome = Run({"quality", "--min-named", "0.99", file_.c_str()});
  EXPECT_EQ(outcome.code, 3);
  EXPECT_EQ(outcome.err, "hotpath quality: 0.8 is under --min-named 0.99\n");
  EXPECT_FALSE(outcome.out.empty());
  EXPECT_EQ(Run({"quality", "--min-named", "0.5", file_.c_str()}).code, 0);
}

TEST_F(Cli, ColoursOnlyWhereTheyAreWanted) {
  const auto has_colour = [&](std::vector<const char*> words) {
    return Run(std::move(words)).out.find('\x1b') != std::string::npos;
  };
  EXPECT_FALSE(has_colour({"top", file_.c_str()}));
  EXPECT_TRUE(has_colour({"top", "--color", "always", file_.c_str()}));
  context_.out_is_terminal = true;
  EXPECT_TRUE(has_colour({"top", file_.c_str()}));
  EXPECT_FALSE(has_colour({"top", "--color", "never", file_.c_str()}));
  context_.no_colour = true;
  EXPECT_FALSE(has_colour({"top", file_.c_str()}));
}

TEST_F(Cli, FlameIsDrawnOnATerminalAndAnSvgElsewhere) {
  EXPECT_TRUE(Run({"flame", file_.c_str()}).out.starts_with("<?xml"));
  context_.out_is_terminal = true;
  EXPECT_TRUE(Run({"flame", file_.c_str()}).out.starts_with("cpu: 4ms"));
  const std::string svg = directory_ + "/o.svg";
  EXPECT_EQ(Run({"flame", "-o", svg.c_str(), file_.c_str()}).out, "");
  EXPECT_TRUE(std::filesystem::exists(svg));
  EXPECT_EQ(Run({"flame", "-o", "/nowhere/o.svg", file_.c_str()}).code, 1);
}

TEST_F(Cli, RecordHandsCheckedOptionsOver) {
  RecordOptions seen;
  context_.record = [&](const RecordOptions& options) {
    seen = options;
    return 7;
  };
  EXPECT_EQ(Run({"record", "-p", "42", "-d", "500ms", "-F", "499"}).code, 7);
  EXPECT_EQ(seen.pids, std::vector<uint32_t>{42});
  EXPECT_EQ(seen.duration, std::chrono::milliseconds(500));
  EXPECT_EQ(seen.hz, 499);
  EXPECT_EQ(seen.output, "hotpath.cpu.pb.gz");
  EXPECT_EQ(Run({"record", "--quiet", "--", "make", "-j4", "--help"}).code, 7);
  EXPECT_EQ(seen.command, (std::vector<std::string>{"make", "-j4", "--help"}));
  EXPECT_FALSE(seen.duration.has_value());
  EXPECT_TRUE(seen.quiet);
}

TEST_F(Cli, RecordRefusesWhatCannotWork) {
  context_.record = [](const RecordOptions&) { return 0; };
  const Outcome outcome = Run({"record", "-p", "43"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(outcome.err.starts_with("hotpath record: no process 43")) << outcome.err;
  EXPECT_EQ(Run({"record", "-o", "-"}).code, 0);
  context_.out_is_terminal = true;
  EXPECT_EQ(Run({"record", "-o", "-"}).code, 2);
  context_.record = nullptr;
  EXPECT_EQ(Run({"record"}).err, "hotpath record: record is not available in this build\n");
}

TEST(ParseDuration, KnowsItsUnitsAndBounds) {
  using std::chrono::milliseconds;
  EXPECT_EQ(ParseDuration("10s"), milliseconds(10'000));
  EXPECT_EQ(ParseDuration("500ms"), milliseconds(500));
  EXPECT_EQ(ParseDuration("1.5m"), milliseconds(90'000));
  EXPECT_EQ(ParseDuration("2"), milliseconds(2000));
  for (const char* bad : {"", "s", "-1s", "0", "1d", "nan", "25h", "1e300"}) {
    EXPECT_EQ(ParseDuration(bad), std::nullopt) << bad;
  }
}

TEST(CapturePath, PassesTheFlagsOn) {
  CaptureOptions capture;
  EXPECT_EQ(CapturePath(capture), "/debug/pprof/profile?seconds=10");
  capture.hz = 499;
  capture.pids = {1, 2};
  capture.comm = "a b";
  EXPECT_EQ(CapturePath(capture), "/debug/pprof/profile?seconds=10&hz=499&pid=1&pid=2&comm=a%20b");
  CaptureOptions heap;
  heap.type = "heap";
  heap.from = "-2h";
  EXPECT_EQ(CapturePath(heap), "/debug/pprof/heap?from=-2h");
  CaptureOptions growth;
  growth.type = "memory_growth";
  EXPECT_EQ(CapturePath(growth), "/debug/pprof/memory_growth?seconds=10");
}

}  // namespace
}  // namespace hotpath::cli
