// Draws the tree as rectangles, with a stylesheet and a short script.
#include "exporters/report/flame_svg.h"

#include <fmt/format.h>

#include <algorithm>

#include "daemon/base/utf8.h"
#include "exporters/report/flame_script.h"
#include "exporters/report/unit.h"

namespace hotpath::report {
namespace {

constexpr double kWidth = 1200;        // Pixels without a script; with one, the window's.
constexpr double kMargin = 10;         // Left and right.
constexpr double kTop = 78;            // Of the first row: title, details and legend are above.
constexpr double kRow = 18;            // Height of a row.
constexpr double kCharacter = 6.7;     // Width of one at the frames' font size.
constexpr double kNarrowest = 0.0001;  // Share of the total.

// Text between tags: no markup, nothing that XML 1.0 forbids.
std::string Escape(std::string_view text) {
  std::string escaped;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < 0x80) {
      switch (byte) {
        case '<':
          escaped += "&lt;";
          break;
        case '>':
          escaped += "&gt;";
          break;
        case '&':
          escaped += "&amp;";
          break;
        case '"':
          escaped += "&quot;";
          break;
        default:
          escaped += byte < 0x20 || byte == 0x7f ? '?' : static_cast<char>(byte);
      }
      ++i;
      continue;
    }
    const size_t length = Utf8SequenceLength(text.substr(i));
    const bool noncharacter =
        text.substr(i).starts_with("\xef\xbf\xbe") || text.substr(i).starts_with("\xef\xbf\xbf");
    if (length == 0 || noncharacter) {
      escaped += '?';
      ++i;
      continue;
    }
    escaped += text.substr(i, length);
    i += length;
  }
  return escaped;
}

// The same name has the same shade in every picture.
std::string Colour(const FlameNode& node) {
  uint32_t hash = 2166136261u;
  for (const char c : node.name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  const int shade = static_cast<int>(hash % 1000);
  const auto pick = [shade](int hue, int hue_range, int saturation, int light, int light_range) {
    return fmt::format("hsl({},{}%,{}%)", hue + shade % hue_range, saturation,
                       light + shade / 31 % light_range);
  };
  switch (node.tone) {
    case FrameTone::kUser:
      return pick(196, 26, 58, 70, 10);
    case FrameTone::kInlined:
      return pick(252, 26, 52, 80, 8);
    case FrameTone::kKernel:
      return pick(22, 18, 86, 68, 9);
    case FrameTone::kUnnamed:
      return pick(205, 20, 10, 78, 8);
    case FrameTone::kMissing:
      return pick(340, 12, 70, 74, 6);
  }
  return "#ccc";
}

// As many characters as fit into `width` pixels, the cut marked; nothing under three.
std::string Fit(const std::string& name, double width) {
  const auto room = static_cast<size_t>(std::max(0.0, (width - 6) / kCharacter));
  if (room < 3) return "";
  if (name.size() <= room) return name;
  size_t end = room - 1;
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xc0) == 0x80) --end;
  return name.substr(0, end) + "…";
}

class Drawing {
 public:
  Drawing(const View& view, int64_t total) : view_(view), total_(total) {}

  void Draw(const FlameNode& node, double x, size_t depth) {
    const double share = Ratio(node.value, total_);
    if (share < kNarrowest) return;
    deepest_ = std::max(deepest_, depth);
    const double inner = kWidth - 2 * kMargin;
    const double left = kMargin + x * inner, width = std::max(share * inner, 0.3);
    const double top = kTop + static_cast<double>(depth) * kRow;
    const std::string tip =
        fmt::format("{} ({}, {})", node.name, ScaledLabel(node.value, view_.unit, "auto"),
                    TrimmedPercentage(node.value, total_));
    out_ += fmt::format(
        "<g class=\"f\" data-x=\"{:.6f}\" data-w=\"{:.6f}\" data-d=\"{}\"><title>{}</title>"
        "<rect x=\"{:.2f}\" y=\"{:.0f}\" width=\"{:.2f}\" height=\"{:.0f}\" rx=\"2\" "
        "fill=\"{}\"/><text x=\"{:.2f}\" y=\"{:.0f}\">{}</text></g>\n",
        x, share, depth, Escape(tip), left, top, width, kRow - 1, Colour(node), left + 3,
        top + 12.5, Escape(Fit(node.name, width)));
    double child_x = x;
    for (const FlameNode& child : node.children) {
      Draw(child, child_x, depth + 1);
      child_x += Ratio(child.value, total_);
    }
  }
  const std::string& out() const { return out_; }
  size_t deepest() const { return deepest_; }

 private:
  const View& view_;
  const int64_t total_;  // Of the root: shares are of it.
  std::string out_;
  size_t deepest_ = 0;
};

std::string Legend() {
  std::string out;
  double x = kMargin;
  for (const auto& [tone, word] :
       {std::pair{FrameTone::kUser, "user"}, std::pair{FrameTone::kInlined, "inlined"},
        std::pair{FrameTone::kKernel, "kernel"}, std::pair{FrameTone::kUnnamed, "no name"},
        std::pair{FrameTone::kMissing, "truncated or lost"}}) {
    FlameNode sample{word, tone, 0, {}};
    out += fmt::format(
        "<rect x=\"{:.0f}\" y=\"57\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{}\"/>"
        "<text class=\"l\" x=\"{:.0f}\" y=\"67\">{}</text>\n",
        x, Colour(sample), x + 17, word);
    x += 37 + 6.6 * static_cast<double>(std::string_view(word).size());
  }
  return out;
}

}  // namespace

std::string FlameSvg(const View& view, const FlameNode& root, const std::string& title) {
  Drawing drawing(view, root.value);
  drawing.Draw(root, 0, 0);
  const double height = kTop + static_cast<double>(drawing.deepest() + 1) * kRow + kMargin;
  std::string details =
      fmt::format("{} · {}", view.type, ScaledLabel(root.value, view.unit, "auto"));
  if (view.profile.duration_ns > 0) {
    details += " in " + ScaledLabel(view.profile.duration_ns, "nanoseconds", "auto");
  }
  for (const std::string& filter : view.active_filters) details += " · " + filter;
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
      "viewBox=\"0 0 {0:.0f} {1:.0f}\" data-margin=\"{2:.0f}\" data-char=\"{3}\">\n"
      "<style>{4}</style>\n"
      "<rect id=\"paper\" width=\"100%\" height=\"100%\" fill=\"#fbfbfa\"/>\n"
      "<text class=\"h\" x=\"{2:.0f}\" y=\"26\">{5}</text>\n"
      "<text class=\"l\" id=\"details\" x=\"{2:.0f}\" y=\"46\">{6}</text>\n"
      "{7}<g id=\"frames\">\n{8}</g>\n"
      "<script><![CDATA[{9}]]></script>\n</svg>\n",
      kWidth, height, kMargin, kCharacter, kFlameStyle, Escape(title), Escape(details), Legend(),
      drawing.out(), kFlameScript);
}

}  // namespace hotpath::report
