// A flame graph as one SVG file that needs nothing else.
#pragma once

#include <string>

#include "exporters/report/flame_tree.h"

namespace hotpath::report {

// Root at the top; width is the share of the total. Hovering tells value and share, a click zooms,
// the field (or '/') searches by regular expression. Without scripts it is a plain picture with the
// browser's own tooltips. Frames narrower than a ten-thousandth of the total are left out.
std::string FlameSvg(const View& view, const FlameNode& root, const std::string& title);

}  // namespace hotpath::report
