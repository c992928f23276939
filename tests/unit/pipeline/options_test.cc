// Flags and the configuration file.
#include "daemon/options.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace hotpath {
namespace {

class OptionsTest : public testing::Test {
 protected:
  OptionsTest() {
    char name[] = "/tmp/hotpath-options-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~OptionsTest() override { std::filesystem::remove_all(folder_); }
  std::string File(const std::string& text) {
    const std::string path = folder_ + "/hotpathd.toml";
    std::ofstream(path) << text;
    return path;
  }
  Result<Options> Parse(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "hotpathd");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    status_ = -1;
    return ParseOptions(static_cast<int>(argv.size()), argv.data(), &status_);
  }
  std::string folder_;
  int status_ = -1;
};

TEST_F(OptionsTest, AFlagWinsOverTheFileAndTheFileOverTheDefault) {
  const std::string config = File("frequency = 49\nlisten = \"127.0.0.1:1\"\nalloc = false\n");
  const Result<Options> options = Parse({"--config", config, "--frequency", "99"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->frequency_hz, 99);
  EXPECT_EQ(options->listen, "127.0.0.1:1");
  EXPECT_FALSE(options->alloc);
  EXPECT_EQ(options->socket, "/run/hotpathd/hotpathd.sock");
}

TEST_F(OptionsTest, AnUnknownKeyNamesTheNearestKnownOneAndItsLine) {
  const Result<Options> options = Parse({"--config", File("\nfrequncy = 9\n")});
  ASSERT_FALSE(options);
  EXPECT_NE(options.error().message.find(":2: unknown key 'frequncy': did you mean 'frequency'?"),
            std::string::npos)
      << options.error().message;
}

TEST_F(OptionsTest, ValuesOutOfBoundsSayWhatIsExpected) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--frequency", "1000"},
                                                    {"--frequency", "x"},
                                                    {"--memory-limit", "1MiB"},
                                                    {"--memory-limit", "64 lots"},
                                                    {"--cpu-budget", "200%"},
                                                    {"--log-level", "loud"}}) {
    const Result<Options> options = Parse(arguments);
    ASSERT_FALSE(options) << arguments[1];
    EXPECT_EQ(options.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(options.error().message.find("expected"), std::string::npos);
  }
}

TEST_F(OptionsTest, AFileThatIsNamedMustExistAndTheDefaultNeedNot) {
  EXPECT_FALSE(Parse({"--config", folder_ + "/absent.toml"}));
  EXPECT_TRUE(Parse({}));
}

TEST_F(OptionsTest, AnUnknownFlagIsWrongUsage) {
  EXPECT_FALSE(Parse({"--frequncy", "9"}));
  EXPECT_EQ(status_, 2);
}

TEST(ParseBytes, KnowsTheUsualUnits) {
  EXPECT_EQ(ParseBytes("64MiB").value(), uint64_t{64} << 20);
  EXPECT_EQ(ParseBytes("512k").value(), uint64_t{512} << 10);
  EXPECT_EQ(ParseBytes("1GB").value(), uint64_t{1} << 30);
  EXPECT_EQ(ParseBytes("42").value(), 42u);
  for (const char* text : {"", "x", "-1", "1TiB", "99999999999999999999"}) {
    EXPECT_FALSE(ParseBytes(text)) << text;
  }
}

TEST(ParsePercent, KnowsSharesAndPercents) {
  EXPECT_DOUBLE_EQ(ParsePercent("0.5%").value(), 0.005);
  EXPECT_DOUBLE_EQ(ParsePercent("0.01").value(), 0.01);
  for (const char* text : {"", "%", "101%", "-1%", "nan", "1 %"}) {
    EXPECT_FALSE(ParsePercent(text)) << text;
  }
}

}  // namespace
}  // namespace hotpath
