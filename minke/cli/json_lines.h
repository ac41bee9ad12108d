// One JSON object a line in, one a line out: for verbs that scripts and tests drive.
#pragma once

#include <functional>
#include <istream>
#include <string>
#include <string_view>

#include "minke/base/result.h"

namespace minke {

inline constexpr size_t kMaxJsonLine = size_t{256} << 20;

// Calls `answer` for each line that is not blank and hands its text, or {"error": …}, to `write`; a bad line never
// stops the rest. A line longer than max_bytes is skipped and answered with an error. Returns the first failure to
// write.
Status ForEachJsonLine(std::istream& in, const std::function<Result<std::string>(std::string_view line)>& answer,
                       const std::function<Status(std::string_view)>& write, size_t max_bytes = kMaxJsonLine);

}  // namespace minke
