// Colours whole lines of a report by what they are.
#include "exporters/cli/paint.h"

#include <algorithm>

namespace hotpath::cli {
namespace {

constexpr std::string_view kBold = "\x1b[1m", kDim = "\x1b[2m", kRed = "\x1b[31m",
                           kYellow = "\x1b[33m", kReset = "\x1b[0m";

std::string_view StyleOf(std::string_view command, std::string_view line) {
  const auto holds = [&](std::string_view part) { return line.find(part) != line.npos; };
  if (holds("[truncated: ") || holds("[lost: ")) return kRed;
  if (command == "top" && holds("flat%") && holds("sum%")) return kBold;
  if (command == "top" && holds(" flat  flat%")) return kBold;
  if (command == "list") {
    if (line.starts_with("ROUTINE")) return kBold;
    if (line.starts_with(" Error: ")) return kYellow;
    // "         .          .     12:": a line without samples.
    return line.starts_with("         .          . ") ? kDim : std::string_view();
  }
  if (command == "peek" || command == "tree") {
    if (line.starts_with("-----")) return kDim;
    return holds("                | ") ? kBold : std::string_view();
  }
  if (command == "traces") return line.starts_with("-----") ? kDim : std::string_view();
  if (command == "diff") {
    if (holds("95% interval")) return kBold;
    return holds("  * ") ? kYellow : std::string_view();
  }
  if (command == "quality") {
    return line.ends_with("program") || line.ends_with("  file") || line.ends_with(" file")
               ? kBold
               : std::string_view();
  }
  return {};
}

}  // namespace

std::string WithoutControls(std::string_view text) {
  std::string safe(text);
  for (size_t i = 0; i < safe.size(); ++i) {
    const auto byte = static_cast<unsigned char>(safe[i]);
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) safe[i] = '?';
    // U+0080 to U+009F: control characters in two bytes.
    if (byte == 0xc2 && i + 1 < safe.size() &&
        (static_cast<unsigned char>(safe[i + 1]) & 0xe0) == 0x80) {
      safe[i] = safe[i + 1] = '?';
    }
  }
  return safe;
}

std::string PaintReport(std::string_view command, std::string_view text) {
  std::string painted;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    const std::string_view style = StyleOf(command, line);
    painted += style;
    painted += line;
    if (!style.empty()) painted += kReset;
    if (end < text.size()) painted += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return painted;
}

}  // namespace hotpath::cli
