#include "minke/engine/stop_matcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace minke {
namespace {

TEST(StopMatcher, WithoutStopStringsEverythingPasses) {
  StopMatcher matcher;
  EXPECT_EQ(matcher.Push("abc"), "abc");
  EXPECT_EQ(matcher.Flush(), "");
  EXPECT_EQ(matcher.matched(), nullptr);
}

TEST(StopMatcher, FindsAStopStringAcrossTokens) {
  const std::vector<std::string> stop{"\n\nUser:"};
  StopMatcher matcher(stop);
  EXPECT_EQ(matcher.Push("fine.\n"), "fine.");  // "\n" may be the beginning
  EXPECT_EQ(matcher.Push("\nUs"), "");
  EXPECT_EQ(matcher.Push("er: hello"), "");
  ASSERT_NE(matcher.matched(), nullptr);
  EXPECT_EQ(*matcher.matched(), stop[0]);
  EXPECT_EQ(matcher.Push("more"), "");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcher, ThinkingIsNotSearched) {
  const std::vector<std::string> stop{"=", ">x"};
  StopMatcher matcher(stop, "</think>");
  EXPECT_EQ(matcher.Push("1+1=2 <"), "1+1=2 <");  // nothing is held back
  EXPECT_EQ(matcher.Push("</thi"), "</thi");
  EXPECT_EQ(matcher.Push("nk>x"), "nk>x");  // no match reaches back into the thinking
  EXPECT_EQ(matcher.matched(), nullptr);
  EXPECT_EQ(matcher.Push("</think>a=b"), "</think>a");
  ASSERT_NE(matcher.matched(), nullptr);
  EXPECT_EQ(*matcher.matched(), "=");
}

TEST(StopMatcher, NoMatchReachesIntoSkippedBytesOrAcrossThem) {
  const std::vector<std::string> stop{"abc"};
  StopMatcher matcher(stop);
  EXPECT_EQ(matcher.Push("xab"), "x");
  matcher.Skip("c, abc");
  EXPECT_EQ(matcher.Push("ca"), "abc");  // what was held back, and what came; the second "a" may begin a match
  matcher.Skip("b");
  EXPECT_EQ(matcher.Flush(), "a");
  EXPECT_EQ(matcher.matched(), nullptr);

  StopMatcher after(stop, "</think>");
  EXPECT_EQ(after.Push("abc</th"), "abc</th");
  after.Skip("ink>");
  EXPECT_EQ(after.Push(".abc"), ".");
  EXPECT_NE(after.matched(), nullptr);
}

TEST(StopMatcher, ReleasesWhatDidNotBecomeAStopString) {
  const std::vector<std::string> stop{"aab"};
  StopMatcher matcher(stop);
  EXPECT_EQ(matcher.Push("a"), "");
  EXPECT_EQ(matcher.Push("a"), "");
  EXPECT_EQ(matcher.Push("a"), "a");  // "aa" is still a beginning
  EXPECT_EQ(matcher.Push("c"), "aac");
  EXPECT_EQ(matcher.Push("xa"), "x");
  EXPECT_EQ(matcher.Flush(), "a");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopMatcher, ReleasesTextBeforeAMatchInsideOneToken) {
  const std::vector<std::string> stop{"END", "D"};
  StopMatcher matcher(stop);
  EXPECT_EQ(matcher.Push("so END of"), "so ");  // both end at the same byte; the longer one wins
  EXPECT_EQ(*matcher.matched(), "END");
}

TEST(StopMatcher, IsAboutBytesNotCharacters) {
  const std::vector<std::string> stop{"\xE2\x82\xAC"};  // the euro sign
  StopMatcher matcher(stop);
  EXPECT_EQ(matcher.Push("5 \xE2"), "5 ");
  EXPECT_EQ(matcher.Push("\x82"), "");
  EXPECT_EQ(matcher.Push("\xAC"), "");
  EXPECT_NE(matcher.matched(), nullptr);
}

TEST(StopMatcher, SurvivesAMove) {
  const std::vector<std::string> stop{"stop"};
  StopMatcher first(stop);
  EXPECT_EQ(first.Push("a st"), "a ");
  StopMatcher second(std::move(first));
  EXPECT_EQ(second.Push("op"), "");
  ASSERT_NE(second.matched(), nullptr);
  EXPECT_EQ(*second.matched(), "stop");
}

// Against a search of the whole text after every token.
TEST(StopMatcher, AgreesWithANaiveSearch) {
  std::mt19937 rng(11);
  const auto random_text = [&](size_t size) {
    std::string text;
    while (text.size() < size) text.push_back(static_cast<char>('a' + rng() % 2));
    return text;
  };
  int matches = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> stop;
    for (size_t i = 1 + rng() % 4; i > 0; --i) stop.push_back(random_text(1 + rng() % 9));
    StopMatcher matcher(stop);
    std::string text, shown;
    while (text.size() < 40) {
      const std::string token = random_text(rng() % 5);
      size_t ends = std::string::npos;  // first byte after the match that ends first
      for (const std::string& s : stop) {
        const size_t at = (text + token).find(s);
        if (at != std::string::npos) ends = std::min(ends, at + s.size());
      }
      text += token;
      shown += matcher.Push(token);
      ASSERT_EQ(matcher.matched() != nullptr, ends != std::string::npos) << text;
      if (matcher.matched()) {
        size_t longest = 0;
        for (const std::string& s : stop) {
          if (s.size() <= ends && text.substr(ends - s.size(), s.size()) == s) longest = std::max(longest, s.size());
        }
        ASSERT_EQ(matcher.matched()->size(), longest);
        ASSERT_EQ(shown, text.substr(0, ends - longest));
        ++matches;
        break;
      }
      size_t held = 0;
      for (const std::string& s : stop) {
        for (size_t n = 1; n < s.size(); ++n) {
          if (text.ends_with(s.substr(0, n))) held = std::max(held, n);
        }
      }
      ASSERT_EQ(shown, text.substr(0, text.size() - held));
    }
    if (!matcher.matched()) {
      shown += matcher.Flush();
      ASSERT_EQ(shown, text);
    }
  }
  EXPECT_GT(matches, 300);
}

}  // namespace
}  // namespace minke
