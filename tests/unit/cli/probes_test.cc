// `hotpath probes`, with a placement of the test's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "exporters/cli/cli.h"

namespace hotpath::cli {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::vector<ProbeTable> LibcOnly() {
  ProbeRow free;
  free.function = "free";
  free.aliases = {"cfree"};
  free.offset = 626419;
  free.instruction = "je 0x98fb8";
  free.pair_offset = 626425;
  free.pair_instruction = "push %rbp";
  free.probe_class = "emulated";
  free.arguments = {"pointer=rdi"};
  ProbeRow refused;
  refused.function = "valloc";
  refused.probe_class = "refused";
  refused.why = "a branch lands at +0x3";
  ProbeTable table;
  table.file = "/lib/libc.so.6";
  table.build_id = "93ac";
  table.allocator = "glibc 2.36";
  table.rows = {free, refused};
  return {table};
}

// The program with these words: exit code, stdout, stderr.
struct Outcome {
  int code;
  std::string out, err;
};
Outcome RunWith(std::vector<const char*> words, std::optional<ProbeTarget>* asked = nullptr) {
  std::ostringstream out, err;
  CliContext context;
  context.out = &out;
  context.err = &err;
  context.probes = [asked](const ProbeTarget& target) -> Result<std::vector<ProbeTable>> {
    if (asked != nullptr) *asked = target;
    if (target.file == "absent") return Fail(ErrorCode::kNotFound, "open absent: no such file");
    return LibcOnly();
  };
  words.insert(words.begin(), {"hotpath", "probes"});
  const int code = RunCli(static_cast<int>(words.size()), words.data(), context);
  return {code, out.str(), err.str()};
}

TEST(Probes, PrintJsonWithTheKeysOfTheContract) {
  const auto [code, out, err] = RunWith({"--format", "json", "/lib/libc.so.6"});
  ASSERT_EQ(code, 0) << err;
  const auto json = nlohmann::json::parse(out);
  EXPECT_EQ(json["file"], "/lib/libc.so.6");
  EXPECT_EQ(json["build_id"], "93ac");
  EXPECT_EQ(json["allocator"], "glibc 2.36");
  ASSERT_EQ(json["probes"].size(), 2U);
  const auto& free = json["probes"][0];
  EXPECT_EQ(free["function"], "free");
  EXPECT_EQ(free["offset"], 626419);
  EXPECT_EQ(free["instruction"], "je 0x98fb8");
  EXPECT_EQ(free["class"], "emulated");
  EXPECT_TRUE(free["why"].is_null());
  EXPECT_EQ(free["pair_offset"], 626425);
  const auto& refused = json["probes"][1];
  EXPECT_TRUE(refused["offset"].is_null());
  EXPECT_TRUE(refused["instruction"].is_null());
  EXPECT_EQ(refused["class"], "refused");
  EXPECT_EQ(refused["why"], "a branch lands at +0x3");
}

TEST(Probes, PrintTextAndCsv) {
  const auto text = RunWith({"/lib/libc.so.6"});
  EXPECT_EQ(text.code, 0);
  EXPECT_EQ(
      text.out,
      "File: /lib/libc.so.6\n"
      "Allocator: glibc 2.36\n"
      "Build ID: 93ac\n"
      "class          offset  instruction          function                 remarks\n"
      "emulated      0x98ef3  je 0x98fb8           free                     pair 0x98ef9 push "
      "%rbp; also cfree\n"
      "refused             -                       valloc                   a branch lands at "
      "+0x3\n");
  const auto csv = RunWith({"--format", "csv", "/lib/libc.so.6"});
  EXPECT_THAT(csv.out,
              StartsWith("file,build_id,allocator,live,function,offset,instruction,class,"));
  EXPECT_THAT(csv.out,
              HasSubstr("/lib/libc.so.6,93ac,glibc 2.36,,free,626419,je 0x98fb8,emulated,"));
}

TEST(Probes, TakeOneProcessOrOneFile) {
  std::optional<ProbeTarget> asked;
  EXPECT_EQ(RunWith({"-p", "12"}, &asked).code, 0);
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->pid, 12U);
  EXPECT_EQ(RunWith({}).code, 2);
  EXPECT_EQ(RunWith({"-p", "12", "file"}).code, 2);
  EXPECT_EQ(RunWith({"-p", "0"}).code, 2);
  EXPECT_EQ(RunWith({"-p", "x"}).code, 2);
}

TEST(Probes, AnErrorIsOneLineAndExitCodeOne) {
  const auto [code, out, err] = RunWith({"absent"});
  EXPECT_EQ(code, 1);
  EXPECT_EQ(out, "");
  EXPECT_EQ(err, "hotpath probes: open absent: no such file\n");
}

}  // namespace
}  // namespace hotpath::cli
