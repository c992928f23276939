// Lays the tree out on a grid of characters.
#include "exporters/report/flame_terminal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "exporters/report/unit.h"

namespace hotpath::report {
namespace {

struct Span {
  size_t begin = 0, end = 0;  // Columns.
  std::string name;
  FrameTone tone = FrameTone::kUser;
};

// Background colours (xterm's 256) of two neighbours of one tone.
std::pair<int, int> Colours(FrameTone tone) {
  switch (tone) {
    case FrameTone::kUser:
      return {117, 153};
    case FrameTone::kInlined:
      return {147, 183};
    case FrameTone::kKernel:
      return {215, 222};
    case FrameTone::kUnnamed:
      return {250, 253};
    case FrameTone::kMissing:
      return {211, 218};
  }
  return {250, 253};
}

class Grid {
 public:
  Grid(size_t columns, size_t rows, int64_t total)
      : columns_(columns), total_(total), rows_(rows) {}

  void Place(const FlameNode& node, double x, size_t depth) {
    const auto column = [&](double share) {
      return static_cast<size_t>(std::llround(share * static_cast<double>(columns_)));
    };
    const double share = Ratio(node.value, total_);
    const size_t begin = column(x), end = std::min(column(x + share), columns_);
    if (end <= begin) return;
    if (depth >= rows_.size()) {
      cut_ = true;
      return;
    }
    rows_[depth].push_back({begin, end, node.name, node.tone});
    double child_x = x;
    for (const FlameNode& child : node.children) {
      Place(child, child_x, depth + 1);
      child_x += Ratio(child.value, total_);
    }
  }

  std::string Print(bool colour) const {
    std::string text;
    for (const std::vector<Span>& row : rows_) {
      if (row.empty()) break;
      size_t at = 0;
      for (size_t i = 0; i < row.size(); ++i) {
        text.append(row[i].begin - at, ' ');
        text += colour ? Painted(row[i], i) : Barred(row[i]);
        at = row[i].end;
      }
      text += '\n';
    }
    return text;
  }
  bool cut() const { return cut_; }

 private:
  // `width` columns of a name; bytes past ASCII count as columns of '?', control characters too.
  static std::string Cell(const std::string& name, size_t width) {
    std::string cell;
    for (const char c : name) {
      const auto byte = static_cast<unsigned char>(c);
      if ((byte & 0xc0) == 0x80) continue;
      cell += byte < 0x20 || byte >= 0x7f ? '?' : c;
    }
    if (cell.size() > width) {
      cell.resize(width);
      if (width >= 3) cell.replace(width - 2, 2, "..");
    }
    cell.append(width - cell.size(), ' ');
    return cell;
  }
  static std::string Painted(const Span& span, size_t number) {
    const auto [even, odd] = Colours(span.tone);
    const size_t width = span.end - span.begin;
    const std::string cell =
        width >= 3 ? " " + Cell(span.name, width - 1) : std::string(width, ' ');
    return fmt::format("\x1b[38;5;16;48;5;{}m{}\x1b[0m", number % 2 == 0 ? even : odd, cell);
  }
  static std::string Barred(const Span& span) {
    return "|" + Cell(span.name, span.end - span.begin - 1);
  }

  size_t columns_;
  int64_t total_;
  std::vector<std::vector<Span>> rows_;
  bool cut_ = false;
};

}  // namespace

std::string FlameTerminal(const View& view, const FlameNode& root, const TerminalStyle& style) {
  const size_t columns = std::max<size_t>(style.columns, 20);
  Grid grid(columns, style.rows, root.value);
  grid.Place(root, 0, 0);
  std::string text = fmt::format("{}: {}", view.type, ScaledLabel(root.value, view.unit, "auto"));
  if (view.profile.duration_ns > 0) {
    text += " in " + ScaledLabel(view.profile.duration_ns, "nanoseconds", "auto");
  }
  text += fmt::format("; a column is {:.2g}% of it", 100.0 / static_cast<double>(columns));
  if (style.colour) {
    text += "; ";
    for (const auto& [tone, word] :
         {std::pair{FrameTone::kUser, "user"}, std::pair{FrameTone::kInlined, "inlined"},
          std::pair{FrameTone::kKernel, "kernel"}, std::pair{FrameTone::kUnnamed, "no name"},
          std::pair{FrameTone::kMissing, "truncated"}}) {
      text += fmt::format("\x1b[38;5;16;48;5;{}m {} \x1b[0m", Colours(tone).first, word);
    }
  }
  text += "\n" + grid.Print(style.colour);
  if (grid.cut())
    text += fmt::format("deeper than {} frames: cut; -o FILE.svg shows all\n", style.rows);
  return text;
}

}  // namespace hotpath::report
