#include "minke/cli/list_flags.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace minke {

std::vector<std::string> SplitList(std::string_view text) {
  std::vector<std::string> words;
  for (;;) {
    const size_t comma = text.find(',');
    words.emplace_back(text.substr(0, comma));
    if (comma == text.npos) return words;
    text.remove_prefix(comma + 1);
  }
}

Result<int64_t> ParseCount(std::string_view word, int64_t least, int64_t most) {
  std::string_view digits = word;
  const bool thousands = digits.ends_with('k') || digits.ends_with('K');
  if (thousands) digits.remove_suffix(1);
  int64_t value = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool whole = read.ec == std::errc() && read.ptr == digits.data() + digits.size();
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 1024;
  if (whole && (!thousands || (value >= -kMost && value <= kMost))) {
    if (thousands) value *= 1024;
    if (value >= least && value <= most) return value;
  }
  return Fail(Code::kInvalidArgument, "{} is not a whole number from {} to {} (16k is 16384)",
              word.empty() ? "nothing" : word, least, most);
}

Result<int64_t> ParseBytes(std::string_view word) {
  double value = 0;
  const auto read = std::from_chars(word.data(), word.data() + word.size(), value);
  std::string_view unit = word.substr(static_cast<size_t>(read.ptr - word.data()));
  if (unit.ends_with('B')) unit.remove_suffix(1);
  const bool binary = unit.size() == 2 && unit[1] == 'i';
  const size_t power = unit.empty() ? 0 : std::string_view("KMGT").find(unit[0]) + 1;
  const bool known = unit.empty() || (power > 0 && unit.size() == (binary ? 2u : 1u));
  for (size_t i = 0; known && i < power; ++i) value *= binary ? 1024 : 1000;
  if (read.ec == std::errc() && known && value >= 1 && value < 0x1p62) return static_cast<int64_t>(value);
  return Fail(Code::kInvalidArgument, "{} is no size: 8G is 8000000000 bytes, 8GiB is 8589934592",
              word.empty() ? "nothing" : word);
}

Result<std::string> ParseChoice(const std::string& word, const std::vector<std::string>& choices) {
  if (std::ranges::find(choices, word) != choices.end()) return word;
  return Fail(Code::kInvalidArgument, "{} is not one of {}", word.empty() ? "nothing" : word, fmt::join(choices, ", "));
}

std::string CountWord(int64_t count) {
  return count > 0 && count % 1024 == 0 ? fmt::format("{}K", count / 1024) : std::to_string(count);
}

}  // namespace minke
