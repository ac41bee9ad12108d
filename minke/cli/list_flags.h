// The words of flags that take a list: "0,4k,16K", "dsa,dense".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"

namespace minke {

// At every comma; an empty text is one empty word, so that no list is empty.
std::vector<std::string> SplitList(std::string_view text);

// A whole number; "k" or "K" behind it means 1024. Errors: kInvalidArgument, also outside [least, most].
Result<int64_t> ParseCount(std::string_view word, int64_t least, int64_t most);

Result<std::string> ParseChoice(const std::string& word, const std::vector<std::string>& choices);

// As ParseCount reads it, in thousands of 1024 where that is exact: "64K", "100".
std::string CountWord(int64_t count);

}  // namespace minke
