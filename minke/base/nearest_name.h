// "Did you mean …?": for flags, keys of configuration files and whatever else people type.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace minke {

// The candidate with the smallest edit distance, or "" when none is near enough to be meant.
std::string NearestName(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace minke
