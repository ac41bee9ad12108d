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

// Bytes: "8G", "8GB" and "8e9" are 8'000'000'000, "8Gi" and "8GiB" 8'589'934'592; also K, M and T, and "1.5G". Errors:
// kInvalidArgument, also below 1.
Result<int64_t> ParseBytes(std::string_view word);

Result<std::string> ParseChoice(const std::string& word, const std::vector<std::string>& choices);

// As ParseCount reads it, in thousands of 1024 where that is exact: "64K", "100".
std::string CountWord(int64_t count);

}  // namespace minke
