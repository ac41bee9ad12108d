#include "minke/text/pretokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace minke {
namespace {

std::vector<std::string> Pieces(std::string_view text) {
  std::vector<std::string> pieces;
  PieceScanner scanner(text);
  for (std::string_view piece = scanner.Next(); !piece.empty(); piece = scanner.Next()) pieces.emplace_back(piece);
  return pieces;
}
using List = std::vector<std::string>;

TEST(PieceScanner, DigitsGoByThreesFromTheLeft) {
  EXPECT_EQ(Pieces("1234567"), (List{"123", "456", "7"}));
  EXPECT_EQ(Pieces("a12"), (List{"a", "12"}));
  EXPECT_EQ(Pieces("½²Ⅻ١"), (List{"½²Ⅻ", "١"}));
}

// The look-ahead of the third pattern sees the end of the piece, which a digit or an ideograph makes.
TEST(PieceScanner, SpacesBeforeWordsDigitsAndIdeographs) {
  EXPECT_EQ(Pieces("a   b"), (List{"a", "  ", " b"}));
  EXPECT_EQ(Pieces("a   1"), (List{"a", "   ", "1"}));
  EXPECT_EQ(Pieces("a   中"), (List{"a", "   ", "中"}));
  EXPECT_EQ(Pieces("a   "), (List{"a", "   "}));
  EXPECT_EQ(Pieces("a   !"), (List{"a", "  ", " !"}));
  EXPECT_EQ(Pieces("\u00A0a\u00A0!"), (List{"\u00A0a", "\u00A0", "!"}));
}

TEST(PieceScanner, LinesEndWithTheirLastNewline) {
  EXPECT_EQ(Pieces("  \n \n  x"), (List{"  \n \n", " ", " x"}));
  EXPECT_EQ(Pieces("!\r\n\nx"), (List{"!\r\n\n", "x"}));
  EXPECT_EQ(Pieces("a\r\n"), (List{"a", "\r\n"}));
  EXPECT_EQ(Pieces("\n\u0085\n"), (List{"\n\u0085\n"}));
}

TEST(PieceScanner, OneSignBeforeLetters) {
  EXPECT_EQ(Pieces("it's"), (List{"it", "'s"}));
  EXPECT_EQ(Pieces("'é"), (List{"'", "é"}));  // only A-Z and a-z stick to an ASCII sign
  EXPECT_EQ(Pieces("'sé"), (List{"'s", "é"}));
  EXPECT_EQ(Pieces("\tabc"), (List{"\tabc"}));  // any character but newlines, letters and signs
  EXPECT_EQ(Pieces("\u200Babc"), (List{"\u200B"
                                       "abc"}));
  EXPECT_EQ(Pieces("\u0301abc"), (List{"\u0301"
                                       "abc"}));
  EXPECT_EQ(Pieces("e\u0301!"), (List{"e\u0301", "!"}));
}

TEST(PieceScanner, IdeographsAreCutOutAndCutAgain) {
  EXPECT_EQ(Pieces("a中文b"), (List{"a", "中文", "b"}));
  EXPECT_EQ(Pieces("カ・ナ"), (List{"カ", "・", "ナ"}));
  EXPECT_EQ(Pieces("・\n"), (List{"・", "\n"}));  // the newline is in another piece of the second pattern
  EXPECT_EQ(Pieces("-・"), (List{"-", "・"}));
  EXPECT_EQ(Pieces("龥龦a"), (List{"龥", "龦a"}));  // U+9FA6 is outside the range
}

TEST(PieceScanner, WhatMatchesNothingIsOnePiece) {
  EXPECT_EQ(Pieces(std::string_view("\0\1 x", 4)), (List{std::string("\0\1", 2), " x"}));
  EXPECT_EQ(Pieces("\x80\xFF"
                   "1"),
            (List{"\x80\xFF", "1"}));
  EXPECT_EQ(Pieces("\xED\xA0\x80"), (List{"\xED\xA0\x80"}));
  EXPECT_EQ(Pieces(""), List{});
}

TEST(NormalizePattern, OneSpellingForAll) {
  EXPECT_EQ(NormalizePattern("[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+"), kV3Patterns[1]);
  EXPECT_EQ(NormalizePattern("[\\x{4E00}-\\x{9FA5}\\u3040-\\u309F゠-ヿ]+"), kV3Patterns[1]);
  EXPECT_EQ(NormalizePattern("[\r\n]\\r\\n"), "[\\r\\n]\\r\\n");
  for (std::string_view pattern : kV3Patterns) EXPECT_EQ(NormalizePattern(pattern), pattern);
  // What only looks like an escape stays.
  for (const char* same : {"\\", "\\u12", "\\u00zz", "\\x{", "\\x{4e00", "\\x{110000}", "\\u0041", "\\\\u4e00"})
    EXPECT_EQ(NormalizePattern(same), same);
}

}  // namespace
}  // namespace minke
