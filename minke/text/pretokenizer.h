// Cuts text into the pieces inside which BPE may merge: the three patterns of DeepSeek-V3's tokenizer.json, by a hand
// scanner that reads every character a bounded number of times.
#pragma once

#include <cstddef>
#include <string_view>

#include "minke/base/result.h"
#include "minke/text/unicode.h"

namespace minke {

// The three patterns as the file writes them, escapes resolved where they stand for one character (see
// NormalizePattern).
extern const std::string_view kV3Patterns[3];

// Two spellings of one pattern become one: \uXXXX and \x{X...} above ASCII turn into the character itself, and a
// newline or carriage return into its escape. All other escapes stay.
std::string NormalizePattern(std::string_view pattern);

// Walks the pieces of one stretch of text (between added tokens) from left to right. Each pattern sees only the pieces
// that the one before left, so "end of text" in the third is the end of such a piece: a number or the border between
// ideographs and the rest ends it.
class PieceScanner {
 public:
  explicit PieceScanner(std::string_view text)
      : text_(text), classes_(CharClasses::Get()), latin_(classes_.latin().data()) {}

  // The next piece, or an empty view at the end. Every byte is in exactly one piece. A byte that is not UTF-8 counts
  // as a character without class.
  std::string_view Next();

 private:
  struct Char {
    uint8_t classes;
    uint8_t size;
  };
  Char At(size_t pos) const;
  // Whether the third pattern's text goes on at a character of these classes.
  bool Inside(uint8_t classes) const {
    return (classes & (char_class::kNumber | char_class::kIdeograph)) == ideograph_;
  }
  size_t Run(size_t pos, uint8_t wanted) const;  // end of the run of characters with one of these classes
  size_t Match(size_t pos, Char first) const;    // end of the third pattern's match at pos; pos if there is none
  size_t MatchSpace(size_t pos) const;

  std::string_view text_;
  const CharClasses& classes_;
  const uint8_t* latin_;
  size_t pos_ = 0;
  uint8_t ideograph_ = 0;  // kIdeograph inside a run of them, else 0
};

}  // namespace minke
