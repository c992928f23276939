// Every flag that --help names is in the manual and is completed by the shells.
#include <gtest/gtest.h>
#include <re2/re2.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "exporters/cli/cli.h"

namespace hotpath::cli {
namespace {

constexpr const char* kCommands[] = {"record",  "top",    "list",  "peek",  "tree",
                                     "traces",  "tags",   "raw",   "flame", "diff",
                                     "quality", "probes", "doctor"};

std::string ReadSource(const std::string& path) {
  std::ifstream file(std::string(HOTPATH_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string HelpText(const std::string& command) {
  std::ostringstream out, err;
  CliContext context;
  context.out = &out;
  context.err = &err;
  const char* words[] = {"hotpath", command.c_str(), "--help"};
  EXPECT_EQ(RunCli(3, words, context), 0);
  return out.str();
}

// "-t" and "--type" of a command's list of options (not of its examples).
std::set<std::string> FlagsOf(const std::string& command) {
  std::set<std::string> flags;
  std::istringstream help(HelpText(command));
  const re2::RE2 option("^  (?:(-[A-Za-z])(?:,| |$))?(--[a-z-]+)?");
  for (std::string line; std::getline(help, line) && line != "Examples:";) {
    std::string brief, full;
    if (!re2::RE2::PartialMatch(line, option, &brief, &full)) continue;
    if (!brief.empty()) flags.insert(brief);
    if (!full.empty()) flags.insert(full);
  }
  return flags;
}

// Single words of a text: letters, digits and dashes.
std::set<std::string> Words(const std::string& text) {
  std::set<std::string> words;
  std::string word;
  for (const char c : text + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '-') {
      word += c;
    } else if (!word.empty()) {
      words.insert(std::exchange(word, ""));
    }
  }
  return words;
}

std::set<std::string> BashCompletions(const std::string& command) {
  const std::string script = std::string("bash -c 'source ") + HOTPATH_SOURCE_DIR +
                             "/deploy/completion/hotpath.bash; COMP_WORDS=(hotpath " + command +
                             " -); COMP_CWORD=2; _hotpath; printf \"%s \" \"${COMPREPLY[@]}\"'";
  FILE* pipe = popen(script.c_str(), "r");
  if (!pipe) return {};
  std::string text;
  char buffer[4096];
  for (size_t size; (size = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, size);
  EXPECT_EQ(pclose(pipe), 0);
  return Words(text);
}

class Manual : public testing::TestWithParam<const char*> {};

TEST_P(Manual, NamesEveryFlagOfHelp) {
  std::string manual = ReadSource("deploy/man/hotpath.1");
  re2::RE2::GlobalReplace(&manual, R"(\\-)", "-");
  re2::RE2::GlobalReplace(&manual, R"(\\f[A-Z])", " ");
  const std::set<std::string> words = Words(manual);
  const std::set<std::string> flags = FlagsOf(GetParam());
  EXPECT_GE(flags.size(), 4u);
  for (const std::string& flag : flags) EXPECT_TRUE(words.contains(flag)) << flag;
}

TEST_P(Manual, BashOffersExactlyTheFlagsOfHelp) {
  EXPECT_EQ(BashCompletions(GetParam()), FlagsOf(GetParam()));
}

TEST_P(Manual, ZshAndFishKnowEveryFlagOfHelp) {
  const std::set<std::string> zsh = Words(ReadSource("deploy/completion/_hotpath"));
  const std::string fish = ReadSource("deploy/completion/hotpath.fish");
  EXPECT_TRUE(zsh.contains(GetParam()));
  EXPECT_NE(fish.find(std::string(" -a ") + GetParam() + " "), std::string::npos);
  for (const std::string& flag : FlagsOf(GetParam())) {
    EXPECT_TRUE(zsh.contains(flag)) << flag;
    const std::string form =
        flag.starts_with("--") ? " -l " + flag.substr(2) + " " : " -s " + flag.substr(1) + " ";
    EXPECT_NE(fish.find(form), std::string::npos) << form;
  }
}

INSTANTIATE_TEST_SUITE_P(Commands, Manual, testing::ValuesIn(kCommands),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace hotpath::cli
