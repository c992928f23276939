// The tree behind flame graphs, and that hostile names stay text.
#include <gtest/gtest.h>

#include "exporters/report/flame_svg.h"
#include "exporters/report/flame_terminal.h"
#include "profile_builder.h"

namespace hotpath::report {
namespace {

View ViewOf(const pprof::Profile& profile) { return MakeView(profile, {}).value(); }

TEST(FlameTree, AddsStacksUpFromTheRoot) {
  const FlameNode root = BuildFlameTree(ViewOf(
      ProfileBuilder().Add({"leaf", "main"}, 2).Add({"main"}, 1).Add({"[kernel]irq"}, 4).Build()));
  EXPECT_EQ(root.value, 70'000'000);
  ASSERT_EQ(root.children.size(), 2u);
  EXPECT_EQ(root.children[0].name, "irq");
  EXPECT_EQ(root.children[0].tone, FrameTone::kKernel);
  EXPECT_EQ(root.children[1].value, 30'000'000);
  EXPECT_EQ(root.children[1].children[0].value, 20'000'000);
}

TEST(FlameTree, FoldedStacksHoldEachFramesOwnValue) {
  const View view = ViewOf(ProfileBuilder().Add({"leaf", "main"}, 2).Add({"main"}, 1).Build());
  EXPECT_EQ(FlameCsv(BuildFlameTree(view)), "stack,value\nmain;leaf,20000000\nmain,10000000\n");
}

TEST(FlameTree, AVeryDeepStackIsCut) {
  const std::vector<std::string> stack(5000, "rec");
  const View view = ViewOf(ProfileBuilder().Add(stack, 1).Build());
  size_t depth = 0;
  const FlameNode root = BuildFlameTree(view);
  for (const FlameNode* node = &root; !node->children.empty(); node = &node->children[0]) ++depth;
  EXPECT_EQ(depth, 1024u);
}

TEST(FlameSvg, ANameCannotBreakOutOfItsText) {
  const View view =
      ViewOf(ProfileBuilder().Add({"</text>]]>&\"\x01\xff\xef\xbf\xbf", "main"}, 1).Build());
  const std::string svg = FlameSvg(view, BuildFlameTree(view), "<b>");
  EXPECT_EQ(svg.find("</text>]]>&\""), std::string::npos);
  EXPECT_NE(svg.find("&lt;b&gt;"), std::string::npos);
  EXPECT_EQ(svg.find('\x01'), std::string::npos);
  EXPECT_EQ(svg.find('\xff'), std::string::npos);
  EXPECT_EQ(svg.find("http://", svg.find("<style>")), svg.find("http://www.w3.org/1999/xhtml"))
      << "the picture must need nothing from elsewhere";
}

TEST(FlameSvg, EveryFrameTellsItsValueAndShareWithoutAScript) {
  const View view = ViewOf(ProfileBuilder().Add({"leaf", "main"}, 3).Add({"main"}, 1).Build());
  const std::string svg = FlameSvg(view, BuildFlameTree(view), "app");
  EXPECT_NE(svg.find("<title>leaf (30ms, 75.00%)</title>"), std::string::npos);
}

TEST(FlameTerminal, FramesTakeTheirShareOfTheColumns) {
  const View view =
      ViewOf(ProfileBuilder().Add({"bbb", "main"}, 1).Add({"aaa", "main"}, 1).Build());
  TerminalStyle style;
  style.columns = 20;
  const std::string text = FlameTerminal(view, BuildFlameTree(view), style);
  EXPECT_EQ(text.substr(text.find('\n') + 1),
            "|all                \n|main               \n|aaa      |bbb      \n");
}

TEST(FlameTerminal, EscapeSequencesInNamesAreNotPassedOn) {
  const View view = ViewOf(ProfileBuilder().Add({"\x1b[2Jx", "main"}, 1).Build());
  const std::string text = FlameTerminal(view, BuildFlameTree(view), {});
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_NE(text.find("?[2Jx"), std::string::npos);
}

}  // namespace
}  // namespace hotpath::report
