#include "minke/train/reward.h"

#include <gtest/gtest.h>

namespace minke {
namespace {

TEST(LanguageShare, CountsWordsByTheirLetters) {
  EXPECT_EQ(LanguageShare("", "en"), 1);
  EXPECT_EQ(LanguageShare("12 + 3 = 15!", "zh"), 1);
  EXPECT_EQ(LanguageShare("two words", "en"), 1);
  EXPECT_EQ(LanguageShare("two words", "zh"), 0);
  EXPECT_EQ(LanguageShare("naïve café Ærø", "en"), 1);
  EXPECT_EQ(LanguageShare("思考", "zh"), 1);
  EXPECT_DOUBLE_EQ(LanguageShare("one 思考", "en"), 1.0 / 3);  // a character of Han is a word
  EXPECT_DOUBLE_EQ(LanguageShare("one思考", "zh"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(LanguageShare("one слово", "en"), 0.5);
  EXPECT_DOUBLE_EQ(LanguageShare("one слово", "zh"), 0);
}

TEST(LanguageShare, TakesAnyBytes) {
  for (int first = 0; first < 256; ++first)
    for (int second = 0; second < 256; ++second) {
      const char bytes[] = {static_cast<char>(first), static_cast<char>(second)};
      const double share = LanguageShare({bytes, 2}, "en");
      ASSERT_TRUE(share >= 0 && share <= 1) << first << " " << second;
    }
}

TEST(Reward, IsASumOfItsParts) {
  Verdict verdict{.right = true, .formatted = true, .attempts = 4, .distinct_attempts = 3};
  Rollout rollout;
  rollout.think_tokens = 50;
  rollout.reasoning = "word слово";
  EXPECT_EQ(RewardOf(verdict, rollout, {}), 1);
  EXPECT_DOUBLE_EQ(RewardOf(verdict, rollout, {.outcome = 2, .length_penalty = 0.3}), 2 - 0.15);
  EXPECT_DOUBLE_EQ(RewardOf(verdict, rollout, {.format = 0.1}), 1.1);
  EXPECT_DOUBLE_EQ(RewardOf(verdict, rollout, {.distinct = 0.4}), 1.3);
  EXPECT_DOUBLE_EQ(RewardOf(verdict, rollout, {.language = 0.4, .language_code = "en"}), 1.2);
  verdict = {};
  EXPECT_EQ(RewardOf(verdict, rollout, {.format = 0.1, .distinct = 0.4}), 0);
  EXPECT_DOUBLE_EQ(RewardOf(verdict, rollout, {.length_penalty = 1}), -0.5);
}

}  // namespace
}  // namespace minke
