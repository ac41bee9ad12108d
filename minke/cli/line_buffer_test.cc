#include "minke/cli/line_buffer.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

TEST(LineBuffer, MovesAndCutsByWholeCharacters) {
  LineBuffer line;
  line.Set("aé猫b");
  line.Left();
  line.Left();
  EXPECT_EQ(line.cursor(), 3u);
  line.Backspace();
  EXPECT_EQ(line.text(), "a猫b");
  line.Delete();
  EXPECT_EQ(line.text(), "ab");
  line.Insert("é");
  EXPECT_EQ(line.text(), "aéb");
  line.Right();
  line.Right();
  EXPECT_EQ(line.cursor(), line.text().size());
}

TEST(LineBuffer, Words) {
  LineBuffer line;
  line.Set("one two  three");
  line.WordLeft();
  EXPECT_EQ(line.cursor(), 9u);
  line.KillWord();
  EXPECT_EQ(line.text(), "one three");
  line.WordRight();
  EXPECT_EQ(line.cursor(), line.text().size());
  line.Home();
  line.WordRight();
  line.KillToEnd();
  EXPECT_EQ(line.text(), "one");
  line.KillToStart();
  EXPECT_EQ(line.text(), "");
  line.Backspace();
  line.Delete();
  line.Left();
  line.Right();
  EXPECT_EQ(line.text(), "");
}

TEST(LineBuffer, Width) {
  EXPECT_EQ(DisplayWidth("abc"), 3);
  EXPECT_EQ(DisplayWidth("é"), 1);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1);
  EXPECT_EQ(DisplayWidth("猫🐳"), 4);
  EXPECT_EQ(DisplayWidth("\xFF"), 1);
}

}  // namespace
}  // namespace minke
