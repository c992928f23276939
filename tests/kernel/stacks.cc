// Expands pprof's tables into stacks, and matches patterns by backtracking over frames.
#include "stacks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace hotpath::kernel_tests {
namespace {

constexpr int64_t kUnbounded = INT64_MAX;

struct Element {
  std::vector<std::string> names;  // Globs; empty for "[kernel]" and "...".
  bool kernel = false;
  bool any = false;
  int64_t at_least = 1, at_most = 1;
};

bool GlobMatches(std::string_view glob, std::string_view text) {
  size_t g = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      resume = t;
    } else if (g < glob.size() && glob[g] == text[t]) {
      ++g;
      ++t;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (g < glob.size() && glob[g] == '*') ++g;
  return g == glob.size();
}

std::vector<std::string> Split(std::string_view text, std::string_view separator) {
  std::vector<std::string> parts;
  for (size_t at = 0;;) {
    const size_t end = text.find(separator, at);
    parts.emplace_back(text.substr(at, end == std::string_view::npos ? end : end - at));
    if (end == std::string_view::npos) return parts;
    at = end + separator.size();
  }
}

Element ParseElement(std::string text) {
  Element element;
  if (text == "...") {
    element.any = true;
    element.at_least = 0;
    element.at_most = kUnbounded;
    return element;
  }
  if (text == "[kernel]") {
    element.kernel = true;
    element.at_most = kUnbounded;
    return element;
  }
  if (const size_t brace = text.rfind('{'); brace != std::string::npos && text.back() == '}') {
    const auto bounds = Split(text.substr(brace + 1, text.size() - brace - 2), ",");
    element.at_least = std::stoll(bounds[0]);
    element.at_most = bounds.size() == 1  ? element.at_least
                      : bounds[1].empty() ? kUnbounded
                                          : std::stoll(bounds[1]);
    text.resize(brace);
  }
  element.names = Split(text, "|");
  return element;
}

std::vector<Element> Parse(std::string_view pattern) {
  std::vector<Element> elements;
  for (const std::string& text : Split(pattern, " <- ")) elements.push_back(ParseElement(text));
  return elements;
}

bool ElementMatches(const Element& element, const FrameView& frame) {
  if (element.any) return true;
  if (element.kernel) return frame.kernel;
  return std::ranges::any_of(
      element.names, [&](const std::string& glob) { return GlobMatches(glob, frame.function); });
}

// reachable[e][f]: elements from e on match frames from f on. Filled from the end, so that no
// pattern costs more than elements times frames times repetitions.
bool FramesMatch(const std::vector<Element>& elements, const std::vector<FrameView>& frames,
                 size_t first) {
  const size_t count = frames.size();
  std::vector<char> next(count + 1, 0), here(count + 1, 0);
  next[count] = 1;
  for (size_t e = elements.size(); e-- > 0;) {
    const Element& element = elements[e];
    for (size_t f = first; f <= count; ++f) {
      here[f] = 0;
      size_t end = f;
      for (int64_t taken = 0; taken <= element.at_most; ++taken, ++end) {
        if (taken >= element.at_least && next[end]) {
          here[f] = 1;
          break;
        }
        if (end == count || !ElementMatches(element, frames[end])) break;
      }
    }
    std::swap(next, here);
  }
  return next[first] != 0;
}

bool StackMatches(const StackView& stack, const std::vector<Element>& elements) {
  const bool names_kernel =
      std::ranges::any_of(elements, [](const Element& element) { return element.kernel; });
  size_t first = 0;
  if (!names_kernel) {
    while (first < stack.frames.size() && stack.frames[first].kernel) ++first;
    if (first == stack.frames.size()) return false;
  }
  return FramesMatch(elements, stack.frames, first);
}

std::string Basename(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

bool IsNamed(const FrameView& frame) {
  return !frame.synthetic && frame.function.find("+0x") == std::string::npos &&
         !frame.function.starts_with("0x") && !frame.function.empty();
}

// The most frequent stacks among those that fail.
std::string PrintFailures(const std::vector<const StackView*>& failures) {
  std::map<std::string, int64_t> by_text;
  for (const StackView* stack : failures) by_text[Print(*stack)] += stack->samples;
  std::vector<std::pair<int64_t, std::string>> sorted;
  sorted.reserve(by_text.size());
  for (const auto& [text, samples] : by_text) sorted.emplace_back(samples, text);
  std::ranges::sort(sorted, std::greater<>());
  std::string out;
  for (size_t i = 0; i < std::min<size_t>(sorted.size(), 8); ++i) {
    out += fmt::format("\n  {} x {}", sorted[i].first, sorted[i].second);
  }
  if (sorted.size() > 8) out += fmt::format("\n  and {} other stacks", sorted.size() - 8);
  return out;
}

testing::AssertionResult ShareHolds(const std::vector<StackView>& stacks, const Selector& of,
                                    const Selector& good, double min_share, int64_t min_samples,
                                    std::string_view what, int64_t pending_allowance_ns = 0) {
  const Selector pending = [](const StackView& stack) { return stack.cut == "table pending"; };
  const bool pending_allowed = CpuNs(stacks, Both(of, pending)) <= pending_allowance_ns;
  int64_t selected = 0, matched = 0;
  std::vector<const StackView*> failures;
  for (const StackView& stack : stacks) {
    if (!of(stack) || (pending_allowed && pending(stack))) continue;
    selected += stack.samples;
    if (good(stack)) {
      matched += stack.samples;
    } else {
      failures.push_back(&stack);
    }
  }
  if (selected < min_samples) {
    return testing::AssertionFailure()
           << fmt::format("only {} samples selected of {} in the profile; at least {} expected",
                          selected, Samples(stacks, [](const StackView&) { return true; }),
                          min_samples)
           << (selected == 0 ? "" : PrintFailures(failures));
  }
  const double share = static_cast<double>(matched) / static_cast<double>(selected);
  if (share >= min_share) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << fmt::format("{} of {} samples ({:.2f} %) {}; at least {:.2f} % expected. The others:",
                        matched, selected, 100 * share, what, 100 * min_share)
         << PrintFailures(failures);
}

}  // namespace

std::vector<StackView> ReadStacks(const pprof::Profile& profile) {
  size_t samples_at = profile.sample_types.size(), cpu_at = profile.sample_types.size();
  for (size_t i = 0; i < profile.sample_types.size(); ++i) {
    if (profile.sample_types[i] == pprof::ValueType{"samples", "count"}) samples_at = i;
    if (profile.sample_types[i] == pprof::ValueType{"cpu", "nanoseconds"}) cpu_at = i;
  }
  std::vector<StackView> stacks;
  stacks.reserve(profile.samples.size());
  for (const pprof::Sample& sample : profile.samples) {
    StackView stack;
    if (samples_at < sample.values.size()) stack.samples = sample.values[samples_at];
    if (cpu_at < sample.values.size()) stack.cpu_ns = sample.values[cpu_at];
    for (const pprof::Label& label : sample.labels) {
      if (label.key == "pid") stack.pid = label.num;
      if (label.key == "tid") stack.tid = label.num;
      if (label.key == "comm") stack.comm = label.str;
      if (label.key == "process") stack.process = label.str;
      if (label.key == "exe") stack.exe = label.str;
      if (label.key == "stack") stack.cut = label.str;
    }
    for (const uint32_t index : sample.locations) {
      const pprof::Location& location = profile.locations[index];
      FrameView frame;
      if (location.mapping >= 0) {
        frame.mapping = Basename(profile.mappings[static_cast<size_t>(location.mapping)].file);
      }
      frame.kernel = frame.mapping.starts_with("[kernel");
      frame.synthetic = frame.mapping == "[hotpath]";
      if (location.lines.empty()) {
        frame.function = fmt::format("{}+0x{:x}", frame.mapping, location.address);
        stack.frames.push_back(frame);
      }
      for (size_t i = 0; i < location.lines.size(); ++i) {
        const pprof::Function& function = profile.functions[location.lines[i].function];
        frame.function = function.name;
        frame.file = function.file;
        frame.line = location.lines[i].line;
        frame.inlined = i + 1 < location.lines.size();
        stack.frames.push_back(frame);
      }
    }
    stack.lost = stack.frames.size() == 1 && stack.frames[0].function.starts_with("[lost: ");
    stacks.push_back(std::move(stack));
  }
  return stacks;
}

Selector OfPid(int64_t pid) {
  return [pid](const StackView& stack) { return stack.pid == pid; };
}
Selector OfExe(std::string_view names) {
  // A process that is gone before it can be asked has no `exe`; its main thread's name remains.
  return [globs = Split(names, "|")](const StackView& stack) {
    const std::string exe = stack.exe.empty() ? stack.process : Basename(stack.exe);
    return std::ranges::any_of(globs,
                               [&](const std::string& glob) { return GlobMatches(glob, exe); });
  };
}
Selector WithFrame(std::string name) {
  return [name = std::move(name)](const StackView& stack) {
    return std::ranges::any_of(
        stack.frames, [&](const FrameView& frame) { return GlobMatches(name, frame.function); });
  };
}
Selector WithLeaf(std::string name) {
  return [name = std::move(name)](const StackView& stack) {
    const auto leaf =
        std::ranges::find_if(stack.frames, [](const FrameView& frame) { return !frame.kernel; });
    return leaf != stack.frames.end() && GlobMatches(name, leaf->function);
  };
}
Selector Both(Selector first, Selector second) {
  return [first = std::move(first), second = std::move(second)](const StackView& stack) {
    return first(stack) && second(stack);
  };
}

bool Matches(const StackView& stack, std::string_view pattern) {
  return StackMatches(stack, Parse(pattern));
}

int64_t Samples(const std::vector<StackView>& stacks, const Selector& of) {
  int64_t sum = 0;
  for (const StackView& stack : stacks) sum += of(stack) ? stack.samples : 0;
  return sum;
}

int64_t CpuNs(const std::vector<StackView>& stacks, const Selector& of) {
  int64_t sum = 0;
  for (const StackView& stack : stacks) sum += of(stack) ? stack.cpu_ns : 0;
  return sum;
}

double Share(const std::vector<StackView>& stacks, const Selector& of, const Selector& that) {
  const int64_t all = Samples(stacks, of);
  if (all == 0) return 0;
  return static_cast<double>(Samples(stacks, Both(of, that))) / static_cast<double>(all);
}

bool IsComplete(const StackView& stack) { return stack.cut.empty() && !stack.lost; }

double NamedShare(const std::vector<StackView>& stacks, const Selector& of) {
  int64_t frames = 0, named = 0;
  for (const StackView& stack : stacks) {
    if (!of(stack)) continue;
    frames += stack.samples * static_cast<int64_t>(stack.frames.size());
    named += stack.samples * std::ranges::count_if(stack.frames, IsNamed);
  }
  return frames == 0 ? 0 : static_cast<double>(named) / static_cast<double>(frames);
}

testing::AssertionResult StacksMatch(const std::vector<StackView>& stacks, const Selector& of,
                                     const std::vector<std::string>& patterns, double min_share,
                                     int64_t min_samples) {
  std::vector<std::vector<Element>> parsed;
  parsed.reserve(patterns.size());
  for (const std::string& pattern : patterns) parsed.push_back(Parse(pattern));
  return ShareHolds(
      stacks, of,
      [&](const StackView& stack) {
        return std::ranges::any_of(parsed, [&](const std::vector<Element>& pattern) {
          return StackMatches(stack, pattern);
        });
      },
      min_share, min_samples, fmt::format("match {}", fmt::join(patterns, "  or  ")),
      kPendingAllowanceNs);
}

testing::AssertionResult StacksHold(const std::vector<StackView>& stacks, const Selector& of,
                                    const Selector& that, double min_share, std::string_view what,
                                    int64_t min_samples) {
  return ShareHolds(stacks, of, that, min_share, min_samples, what);
}

testing::AssertionResult StacksComplete(const std::vector<StackView>& stacks, const Selector& of,
                                        double min_share, int64_t min_samples) {
  return ShareHolds(stacks, of, IsComplete, min_share, min_samples, "are complete",
                    kPendingAllowanceNs);
}

testing::AssertionResult NothingLost(const std::vector<StackView>& stacks) {
  std::vector<const StackView*> losses;
  for (const StackView& stack : stacks) {
    if (stack.lost && stack.cpu_ns > 0) losses.push_back(&stack);
  }
  if (losses.empty()) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "samples were lost:" << PrintFailures(losses);
}

std::string Print(const StackView& stack) {
  constexpr size_t kShown = 14;  // Of each end.
  std::string out;
  const size_t count = stack.frames.size();
  for (size_t i = 0; i < count; ++i) {
    if (count > 2 * kShown && i == kShown) {
      out += fmt::format(" <- ({} more)", count - 2 * kShown);
      i = count - kShown;
    }
    const FrameView& frame = stack.frames[i];
    out += fmt::format("{}{}{}{}", i == 0 ? "" : " <- ", frame.function, frame.kernel ? "(k)" : "",
                       frame.inlined ? "(inlined)" : "");
  }
  if (!stack.cut.empty()) out += fmt::format(" [stack={}]", stack.cut);
  return out.empty() ? "(no frames)" : out;
}

}  // namespace hotpath::kernel_tests
