// Applies focus, ignore, hide and show to locations first, then to the samples that hold them.
#include "exporters/report/frame_filter.h"

#include <re2/re2.h>

#include <algorithm>
#include <memory>

namespace hotpath::report {
namespace {

using Expression = std::unique_ptr<const re2::RE2>;

Result<Expression> Compile(const char* option, const std::string& text) {
  if (text.empty()) return Expression();
  auto expression = std::make_unique<const re2::RE2>(text, re2::RE2::Quiet);
  if (!expression->ok()) {
    return Fail(ErrorCode::kInvalidArgument,
                std::string("--") + option + " '" + text +
                    "' is no regular expression: " + expression->error());
  }
  return expression;
}

// Answers "does this frame match" for one profile; a function or mapping is asked many times.
class FrameMatcher {
 public:
  FrameMatcher(const pprof::Profile& profile, const re2::RE2& expression) {
    for (const pprof::Function& function : profile.functions) {
      functions_.push_back(re2::RE2::PartialMatch(function.name, expression) ||
                           re2::RE2::PartialMatch(function.file, expression));
    }
    for (const pprof::Mapping& mapping : profile.mappings) {
      mappings_.push_back(re2::RE2::PartialMatch(mapping.file, expression));
    }
  }
  bool Mapping(const pprof::Location& location) const {
    return location.mapping >= 0 && mappings_[location.mapping];
  }
  bool Line(const pprof::Line& line) const { return functions_[line.function]; }
  bool Location(const pprof::Location& location) const {
    return Mapping(location) ||
           std::ranges::any_of(location.lines, [&](const auto& line) { return Line(line); });
  }

 private:
  std::vector<bool> functions_, mappings_;  // Indexed as in the profile.
};

enum class Verdict : uint8_t { kNeutral, kFocused, kIgnored };

}  // namespace

Result<void> FilterFrames(pprof::Profile& profile, const FrameFilterOptions& options,
                          std::vector<std::string>& remarks) {
  std::unique_ptr<FrameMatcher> focus, ignore, hide, show;
  for (const auto& [matcher, name, text] :
       {std::tuple{&focus, "focus", &options.focus}, std::tuple{&ignore, "ignore", &options.ignore},
        std::tuple{&hide, "hide", &options.hide}, std::tuple{&show, "show", &options.show}}) {
    auto expression = Compile(name, *text);
    if (!expression) return std::unexpected(expression.error());
    if (*expression) *matcher = std::make_unique<FrameMatcher>(profile, **expression);
  }
  if (!focus && !ignore && !hide && !show) return {};

  bool focus_hit = false, ignore_hit = false, hide_hit = false, show_hit = false;
  std::vector<Verdict> verdicts(profile.locations.size(), Verdict::kNeutral);
  std::vector<bool> hidden(profile.locations.size());
  for (size_t i = 0; i < profile.locations.size(); ++i) {
    pprof::Location& location = profile.locations[i];
    if (ignore && ignore->Location(location)) {
      ignore_hit = true;
      verdicts[i] = Verdict::kIgnored;
    } else if (!focus || focus->Location(location)) {
      focus_hit = true;
      verdicts[i] = Verdict::kFocused;
    }
    const bool had_lines = !location.lines.empty();
    if (hide && hide->Location(location)) {
      hide_hit = true;
      const bool whole = hide->Mapping(location);
      std::erase_if(location.lines, [&](const auto& line) { return whole || hide->Line(line); });
      if (location.lines.empty()) hidden[i] = true;
    }
    if (show && !show->Mapping(location)) {
      std::erase_if(location.lines, [&](const auto& line) { return !show->Line(line); });
      if (location.lines.empty()) hidden[i] = true;
    }
    show_hit = show_hit || (show && !hidden[i] && (had_lines || show->Mapping(location)));
  }

  std::erase_if(profile.samples, [&](pprof::Sample& sample) {
    bool focused = false;
    for (const uint32_t location : sample.locations) {
      if (verdicts[location] == Verdict::kIgnored) return true;
      focused = focused || verdicts[location] == Verdict::kFocused;
    }
    if (!focused) return true;
    std::erase_if(sample.locations, [&](uint32_t location) { return hidden[location]; });
    return sample.locations.empty();
  });

  const auto remark = [&](const char* option, bool asked, bool hit) {
    if (asked && !hit) remarks.push_back(std::string("--") + option + " matched no frame");
  };
  remark("focus", focus != nullptr, focus_hit);
  remark("ignore", ignore != nullptr, ignore_hit);
  remark("hide", hide != nullptr, hide_hit);
  remark("show", show != nullptr, show_hit);
  return {};
}

}  // namespace hotpath::report
