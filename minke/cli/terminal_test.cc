#include "minke/cli/terminal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <string>

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

class ColorTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kNames)
      if (const char* value = std::getenv(name)) before_[name] = value;
    for (const char* name : kNames) ::unsetenv(name);
    ASSERT_EQ(::pipe(pipe_), 0);  // no terminal
  }
  void TearDown() override {
    for (const char* name : kNames) ::unsetenv(name);
    for (const auto& [name, value] : before_) ::setenv(name.c_str(), value.c_str(), 1);
    for (const int fd : pipe_) ::close(fd);
  }
  bool Auto() const { return UseColor(pipe_[1], "auto"); }

  static constexpr const char* kNames[] = {"NO_COLOR", "CLICOLOR_FORCE", "TERM"};
  std::map<std::string, std::string> before_;
  int pipe_[2];
};

TEST_F(ColorTest, ForceWinsOverAPipeButNotOverNoColorAndADumbTerminal) {
  ::setenv("TERM", "xterm", 1);
  EXPECT_FALSE(Auto());
  ::setenv("CLICOLOR_FORCE", "1", 1);
  EXPECT_TRUE(Auto());
  ::setenv("TERM", "dumb", 1);
  EXPECT_FALSE(Auto());
  ::unsetenv("TERM");
  EXPECT_TRUE(Auto());
  ::setenv("NO_COLOR", "1", 1);
  EXPECT_FALSE(Auto());
  EXPECT_TRUE(UseColor(pipe_[1], "always"));
  ::unsetenv("NO_COLOR");
  ::setenv("CLICOLOR_FORCE", "0", 1);
  EXPECT_FALSE(Auto());
  EXPECT_FALSE(UseColor(pipe_[1], "never"));
}

TEST(Terminal, AnErrorIsOneLine) { EXPECT_EQ(OneLine("a\nb\tc\u0085\x1B \n"), "a b c??"); }

}  // namespace
}  // namespace minke
