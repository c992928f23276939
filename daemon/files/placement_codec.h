// A Placement as bytes, from the file worker's child to its parent.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "daemon/base/result.h"
#include "daemon/placement/placement.h"

namespace hotpath {

std::string EncodePlacement(const Placement& placement);

// Believes nothing. What could make a probe hit the wrong bytes is checked: a site lies in the
// bytes that the function brings along, within ProbeRules' bounds, and where it is said to be
// emulated those bytes are of a form that the kernel emulates; offsets and addresses go together.
// Text that people will see has no control characters. Errors: kMalformed, naming what is wrong.
Result<Placement> DecodePlacement(std::span<const uint8_t> bytes);

}  // namespace hotpath
