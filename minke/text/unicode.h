// Classes of characters as the pre-tokenizer's patterns name them: \p{L} \p{M} \p{N} \p{P} \p{S} \s.
// Unicode 16.0, the version inside the `tokenizers` package; all 1,112,064 code points agree with it
// (tests/unicode_tables_test.py).
#pragma once

#include <array>
#include <cstdint>

namespace minke {

// One bit each, so that a test for "letter or mark" is one AND. A character has one of the first six or none.
namespace char_class {
inline constexpr uint8_t kLetter = 1, kMark = 2, kNumber = 4, kPunctuation = 8, kSymbol = 16, kSpace = 32;
inline constexpr uint8_t kNewline = 64;     // \r \n, beside kSpace
inline constexpr uint8_t kIdeograph = 128;  // [\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff], beside its class
inline constexpr uint8_t kWord = kLetter | kMark, kMarkup = kPunctuation | kSymbol;
}  // namespace char_class

// Two stages: a block of 256 code points -> a row of classes; equal rows are stored once.
class CharClasses {
 public:
  static const CharClasses& Get();                 // built at the first call, about 0.2 ms
  uint8_t operator[](uint32_t code_point) const {  // code_point <= 0x10FFFF
    return rows_[row_of_[code_point >> 8]][code_point & 0xFF];
  }
  const std::array<uint8_t, 256>& latin() const { return rows_[0]; }

 private:
  CharClasses();
  std::array<uint8_t, 0x1100> row_of_{};
  std::array<std::array<uint8_t, 256>, 256> rows_{};
};

}  // namespace minke
