// Colours for a terminal, and no other escape sequence.
#pragma once

#include <string>
#include <string_view>

namespace hotpath::cli {

// Control characters but tab and newline become '?': names come from foreign programs.
std::string WithoutControls(std::string_view text);

// A report's text with its table heads bold, values that matter coloured, and frames that are
// missing ("[truncated: ...]", "[lost: ...]") in red.
std::string PaintReport(std::string_view command, std::string_view text);

}  // namespace hotpath::cli
