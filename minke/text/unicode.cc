#include "minke/text/unicode.h"

#include <algorithm>
#include <iterator>

#include "minke/base/check.h"

namespace minke {
namespace {

enum class CharClass : uint8_t {
  kOther = 0,
  kLetter = char_class::kLetter,
  kMark = char_class::kMark,
  kNumber = char_class::kNumber,
  kPunctuation = char_class::kPunctuation,
  kSymbol = char_class::kSymbol,
  kSpace = char_class::kSpace,
};

struct Range {
  uint32_t first;
  CharClass char_class;
};
constexpr Range kRanges[] = {
#include "minke/text/unicode_tables.inc"
};

bool IsIdeograph(uint32_t c) { return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF); }

}  // namespace

const CharClasses& CharClasses::Get() {
  static const CharClasses classes;
  return classes;
}

CharClasses::CharClasses() {
  size_t num_rows = 0;
  const Range* range = kRanges;
  for (uint32_t block = 0; block < row_of_.size(); ++block) {
    std::array<uint8_t, 256> row;
    for (uint32_t i = 0; i < row.size(); ++i) {
      const uint32_t c = block << 8 | i;
      while (range + 1 != std::end(kRanges) && range[1].first <= c) ++range;
      row[i] = static_cast<uint8_t>(range->char_class);
      if (c == '\r' || c == '\n') row[i] |= char_class::kNewline;
      if (IsIdeograph(c)) row[i] |= char_class::kIdeograph;
    }
    const auto known = std::find(rows_.begin(), rows_.begin() + static_cast<ptrdiff_t>(num_rows), row);
    const size_t index = static_cast<size_t>(known - rows_.begin());
    if (index == num_rows) {
      MINKE_CHECK(num_rows < rows_.size());
      rows_[num_rows++] = row;
    }
    row_of_[block] = static_cast<uint8_t>(index);
  }
}

}  // namespace minke
