// Flat, cum, edges and trimming of small call graphs.
#include "exporters/report/graph.h"

#include <gtest/gtest.h>

#include "profile_builder.h"

namespace hotpath::report {
namespace {

View ViewOf(pprof::Profile profile, const ViewOptions& options = {}) {
  auto view = MakeView(std::move(profile), options);
  EXPECT_TRUE(view.has_value());
  return std::move(*view);
}

const Node* Find(const Graph& graph, std::string_view name) {
  for (const Node& node : graph.nodes) {
    if (node.info.name == name) return &node;
  }
  return nullptr;
}

TEST(Graph, FlatIsTheLeafAndCumIsEveryFrame) {
  const View view =
      ViewOf(ProfileBuilder().Add({"leaf", "mid", "main"}, 3).Add({"mid", "main"}, 2).Build());
  const Graph graph = BuildGraph(view, false);
  ASSERT_NE(Find(graph, "mid"), nullptr);
  EXPECT_EQ(Find(graph, "leaf")->flat, 30'000'000);
  EXPECT_EQ(Find(graph, "mid")->flat, 20'000'000);
  EXPECT_EQ(Find(graph, "mid")->cum, 50'000'000);
  EXPECT_EQ(Find(graph, "main")->flat, 0);
  EXPECT_EQ(view.total, 50'000'000);
}

TEST(Graph, RecursionCountsOnceASample) {
  const View view = ViewOf(ProfileBuilder().Add({"rec", "rec", "rec", "main"}, 4).Build());
  const Graph graph = BuildGraph(view, false);
  EXPECT_EQ(Find(graph, "rec")->cum, 40'000'000);
  EXPECT_EQ(Find(graph, "rec")->flat, 40'000'000);
  EXPECT_EQ(graph.edges.size(), 1u) << "a call of itself is no edge";
}

TEST(Graph, MutualRecursionCountsEachEdgeOnce) {
  const View view = ViewOf(ProfileBuilder().Add({"a", "b", "a", "b", "main"}, 5).Build());
  const Graph graph = BuildGraph(view, false);
  for (const Edge& edge : graph.edges) EXPECT_EQ(edge.weight, 50'000'000);
  EXPECT_EQ(graph.edges.size(), 3u);
}

TEST(Graph, AnInlinedCallIsAnInlinedEdgeUntilOneCallIsReal) {
  ProfileBuilder builder;
  builder.Add({"in<out", "main"}, 1);
  const Graph inlined = BuildGraph(ViewOf(builder.Build()), false);
  ASSERT_EQ(Find(inlined, "in")->in.size(), 1u);
  EXPECT_TRUE(inlined.edges[Find(inlined, "in")->in[0]].inlined);
  builder.Add({"in", "out", "main"}, 1);
  const Graph both = BuildGraph(ViewOf(builder.Build()), false);
  EXPECT_FALSE(both.edges[Find(both, "in")->in[0]].inlined);
}

TEST(Graph, AnEdgeJoinsTheNeighboursOfANodeThatWasCut) {
  const View view =
      ViewOf(ProfileBuilder().Add({"hot", "thin", "main"}, 90).Add({"hot", "main"}, 9).Build());
  TrimOptions trim;
  trim.node_count = 2;
  trim.by_cum = true;
  const Graph graph = BuildTrimmedGraph(view, trim);
  ASSERT_EQ(graph.nodes.size(), 2u);
  EXPECT_EQ(graph.original_count, 3u);
  ASSERT_EQ(graph.edges.size(), 1u);
  EXPECT_EQ(graph.edges[0].weight, 990'000'000);
}

TEST(Graph, NodesUnderTheFractionAreDroppedAndCounted) {
  const View view =
      ViewOf(ProfileBuilder().Add({"hot", "main"}, 999).Add({"cold", "main"}, 1).Build());
  TrimOptions trim;
  trim.node_fraction = 0.005;
  const Graph graph = BuildTrimmedGraph(view, trim);
  EXPECT_EQ(Find(graph, "cold"), nullptr);
  EXPECT_EQ(graph.dropped_nodes, 1u);
}

TEST(View, TheLastSampleTypeIsChosenUnlessTheProfileNamesOne) {
  ProfileBuilder builder;
  builder.Add({"main"}, 2);
  EXPECT_EQ(ViewOf(builder.Build()).type, "cpu");
  builder.profile().default_sample_type = "samples";
  EXPECT_EQ(ViewOf(builder.Build()).type, "samples");
  ViewOptions options;
  options.sample_type = "1";
  EXPECT_EQ(ViewOf(builder.Build(), options).type, "cpu");
  options.sample_type = "bytes";
  const auto missing = MakeView(builder.Build(), options);
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().message,
            "--sample-type 'bytes' is not in this profile, which has samples, cpu");
}

TEST(View, FocusKeepsTheTotalOfTheWhole) {
  ViewOptions options;
  options.focus = "hot";
  const View view = ViewOf(ProfileBuilder().Add({"hot"}, 1).Add({"cold"}, 3).Build(), options);
  EXPECT_EQ(view.profile.samples.size(), 1u);
  EXPECT_EQ(view.total, 40'000'000);
}

TEST(View, IgnoreWinsOverFocus) {
  ViewOptions options;
  options.focus = "main";
  options.ignore = "cold";
  const View view =
      ViewOf(ProfileBuilder().Add({"hot", "main"}, 1).Add({"cold", "main"}, 3).Build(), options);
  ASSERT_EQ(view.profile.samples.size(), 1u);
  EXPECT_EQ(view.profile.samples[0].values[0], 1);
}

TEST(View, HideDropsFramesAndShowKeepsOnlyMatches) {
  ViewOptions hide;
  hide.hide = "^mid$";
  const pprof::Profile profile = ProfileBuilder().Add({"leaf", "mid", "main"}, 1).Build();
  EXPECT_EQ(ViewOf(profile, hide).profile.samples[0].locations.size(), 2u);
  ViewOptions show;
  show.show = "^mid$";
  const View shown = ViewOf(profile, show);
  ASSERT_EQ(shown.profile.samples[0].locations.size(), 1u);
  EXPECT_EQ(BuildGraph(shown, false).nodes[0].flat, 10'000'000);
}

TEST(View, AnExpressionThatMatchesNothingIsRemarked) {
  ViewOptions options;
  options.ignore = "nowhere";
  EXPECT_EQ(ViewOf(ProfileBuilder().Add({"main"}, 1).Build(), options).remarks,
            std::vector<std::string>{"--ignore matched no frame"});
}

TEST(View, ABrokenExpressionIsAnErrorThatNamesItsFlag) {
  ViewOptions options;
  options.focus = "(";
  const auto view = MakeView(ProfileBuilder().Add({"main"}, 1).Build(), options);
  ASSERT_FALSE(view.has_value());
  EXPECT_TRUE(view.error().message.starts_with("--focus '(' is no regular expression"));
}

TEST(View, ValuesThatWouldOverflowAreRefused) {
  ProfileBuilder builder;
  builder.Add({"main"}, 1);
  builder.profile().samples[0].values = {1, INT64_MIN};
  EXPECT_FALSE(MakeView(builder.Build(), {}).has_value());
  builder.profile().samples[0].values = {1, int64_t{1} << 58};
  builder.profile().samples.push_back(builder.profile().samples[0]);
  EXPECT_FALSE(MakeView(builder.Build(), {}).has_value());
}

TEST(View, TagRootsStandAboveTheStackInTheirOrder) {
  ViewOptions options;
  options.tag_root = {"container", "comm"};
  const View view = ViewOf(
      ProfileBuilder().Add({"main"}, 1, {Text("comm", "redis"), Text("container", "db")}).Build(),
      options);
  const auto& locations = view.profile.samples[0].locations;
  ASSERT_EQ(locations.size(), 3u);
  const auto name = [&](size_t i) {
    return view.profile.functions[view.profile.locations[locations[i]].lines[0].function].name;
  };
  EXPECT_EQ(name(1), "redis");
  EXPECT_EQ(name(2), "db");
}

struct TagCase {
  std::string filter;
  bool matches;
};
class TagFocus : public testing::TestWithParam<TagCase> {};
TEST_P(TagFocus, KeepsASampleOfPid150WithTwoKilobytesAndCommRedis) {
  ViewOptions options;
  options.tag_focus = {GetParam().filter};
  const View view =
      ViewOf(ProfileBuilder()
                 .Add({"main"}, 1,
                      {Number("pid", 150), Number("bytes", 2048, "bytes"), Text("comm", "redis")})
                 .Build(),
             options);
  EXPECT_EQ(view.profile.samples.size(), GetParam().matches ? 1u : 0u) << GetParam().filter;
}
INSTANTIATE_TEST_SUITE_P(Filters, TagFocus,
                         testing::Values(TagCase{"pid=150", true}, TagCase{"pid=151", false},
                                         TagCase{"pid=100:200", true}, TagCase{"pid=151:", false},
                                         TagCase{"pid=:150", true}, TagCase{"bytes=2kb", true},
                                         TagCase{"bytes=1kb:3kb", true},
                                         TagCase{"bytes=1mb:", false}, TagCase{"comm=^re", true},
                                         TagCase{"comm=x,dis$", true}, TagCase{"comm=x", false},
                                         TagCase{"comm:redis", true},
                                         TagCase{"comm:redis,nope", false}, TagCase{"exe=.", false},
                                         TagCase{"2kb", true}));

TEST(Subtract, EqualStacksOfTwoProfilesCancel) {
  const pprof::Profile before = ProfileBuilder().Add({"a"}, 2).Add({"b"}, 5).Build();
  pprof::Profile after = ProfileBuilder().Add({"a"}, 2).Add({"b"}, 7).Build();
  std::swap(after.samples[0], after.samples[1]);
  const auto delta = Subtract(after, before, false);
  ASSERT_TRUE(delta.has_value());
  ASSERT_EQ(delta->samples.size(), 1u);
  EXPECT_EQ(delta->samples[0].values[0], 2);
}

TEST(Subtract, OfADiffBaseTheTotalIsTheBases) {
  const auto delta = Subtract(ProfileBuilder().Add({"a"}, 7).Build(),
                              ProfileBuilder().Add({"a"}, 5).Build(), true);
  ASSERT_TRUE(delta.has_value());
  EXPECT_EQ(ViewOf(*delta).total, 50'000'000);
}

TEST(Subtract, ProfilesWithoutACommonTypeAreRefused) {
  pprof::Profile heap = ProfileBuilder().Add({"a"}, 5).Build();
  heap.sample_types = {{"objects", "count"}, {"space", "bytes"}};
  EXPECT_FALSE(Subtract(ProfileBuilder().Add({"a"}, 7).Build(), heap, false).has_value());
}

TEST(Compact, EqualSamplesAreAddedAndEmptyOnesLeftOut) {
  const pprof::Profile compact =
      Compact(ProfileBuilder().Add({"z"}, 0).Add({"a"}, 1).Add({"a"}, 2).Build());
  ASSERT_EQ(compact.samples.size(), 1u);
  EXPECT_EQ(compact.samples[0].values[0], 3);
  EXPECT_EQ(compact.functions.size(), 1u);
}

}  // namespace
}  // namespace hotpath::report
