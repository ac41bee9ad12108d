#include "minke/cli/terminal.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

TEST(Terminal, NoControlCharacterPasses) {
  EXPECT_EQ(WithoutControls("a\tb\nc 猫 é \u00A0ÿ"), "a\tb\nc 猫 é \u00A0ÿ");
  EXPECT_EQ(WithoutControls("\x1B[2J\r\x07\x7F"), "?[2J???");
  // U+009B alone opens a control sequence as ESC [ does.
  EXPECT_EQ(WithoutControls("\u0080\u009B2J\u009F"), "??2J?");
  EXPECT_EQ(WithoutControls("\xC2"), "\xC2");  // no character at all
  EXPECT_EQ(WithoutControls("Ã\u009B"), "Ã?");
}

TEST(Terminal, AnErrorIsOneLine) { EXPECT_EQ(OneLine("a\nb\tc\u0085\x1B \n"), "a b c??"); }

}  // namespace
}  // namespace minke
