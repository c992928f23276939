// How much of the profile each label value has: pprof's -tags.
#pragma once

#include <string>

#include "exporters/report/header.h"

namespace hotpath::report {

std::string TagsText(const View& view);
// {"tags":[{"key":..., "total":..., "values":[{"value":..., "flat":..., "ratio":...}]}]}
Json TagsJson(const View& view);
std::string TagsCsv(const View& view);

}  // namespace hotpath::report
