// report.html: the experiment as one page that stands alone, from results.json and nothing else.
#pragma once

#include <string>

#include "minke/base/json.h"

namespace minke {

// What is missing in `results` is missing in the page. `command`: how it was made.
std::string LabReport(const Json& results, const std::string& command);

}  // namespace minke
