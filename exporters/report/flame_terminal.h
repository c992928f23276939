// A flame graph drawn with characters.
#pragma once

#include <cstddef>
#include <string>

#include "exporters/report/flame_tree.h"

namespace hotpath::report {

struct TerminalStyle {
  size_t columns = 100;  // At least 20 are used.
  size_t rows = 60;      // Deeper frames are left out, and said so.
  bool colour = false;   // 256 colours; else frames are told apart by bars.
};

// Root at the top; a frame gets its share of the columns, and is left out under one column.
std::string FlameTerminal(const View& view, const FlameNode& root, const TerminalStyle& style);

}  // namespace hotpath::report
