#include "minke/train/countdown.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "minke/train/calculator.h"

namespace minke {
namespace {

const std::vector<int> kNumbers = {5, 2, 8};  // 20 = 8*5/2

Verdict JudgeIt(std::string_view reasoning, std::string_view content, bool calculator = false) {
  return JudgeCountdown(kNumbers, 20, calculator, reasoning, content);
}

TEST(Countdown, TheExampleOfTheReadmeIsRightInEveryCount) {
  const Verdict v = JudgeIt("5-2=3,3*8=24>5*2=10,10+8=18<8*5=40,40/2=20!", "8*5=40,40/2=20");
  EXPECT_TRUE(v.right);
  EXPECT_TRUE(v.formatted);
  EXPECT_EQ(v.attempts, 3);
  EXPECT_EQ(v.distinct_attempts, 3);
  EXPECT_EQ(v.steps, 6);
  EXPECT_EQ(v.correct_steps, 6);
  EXPECT_EQ(v.hit_attempt, 2);
  EXPECT_FALSE(v.gave_up);
}

TEST(Countdown, WrongAnswersAreWrong) {
  for (const char* content : {"8*5=40,40/2=21", "5*2=10,10+8=18", "10*2=20", "8*5=40", "8*5=40,40/2=20,", "", "?",
                              " 8*5=40,40/2=20", "8*5=40,40/2=20!", "8*5=040,40/2=20", "8*5=40,40/2=20\n", "20",
                              "2-5=3,8*3=24", "8*5=40,40/2=20,20*1=20", "8*5=40,20=40/2"}) {
    EXPECT_FALSE(JudgeIt("", content).right) << content;
  }
  EXPECT_TRUE(JudgeIt("", "8*5=40,40/2=20").right);
  EXPECT_TRUE(JudgeIt("", "?").formatted);
  EXPECT_TRUE(JudgeIt("", "?").gave_up);
  EXPECT_TRUE(JudgeIt("", "8*5=40,40/2=21").formatted);  // form is not truth
  EXPECT_FALSE(JudgeIt("", "8*5=40,").formatted);
}

TEST(Countdown, StepsThatBreakTheRulesCountAsWrong) {
  EXPECT_EQ(JudgeIt("5-2=4,4*8=32>", "?").correct_steps, 1);  // 5-2 is no 4; the next step goes on from what is written
  EXPECT_EQ(JudgeIt("5+5=10,10+8=18<", "?").correct_steps, 0);  // one 5 only
  EXPECT_EQ(JudgeIt("2-5=3,3*8=24>", "?").correct_steps, 1);
  const Verdict v = JudgeIt("8*5=40,40/2=21<", "?");
  EXPECT_EQ(v.hit_attempt, -1);
  EXPECT_EQ(v.steps, 2);
}

TEST(Countdown, BrokenAttemptsCountOnceAndTheRestIsRead) {
  const Verdict v = JudgeIt("nonsense<8*5=40,40/2=20!8*5=40,40/2=20!8*5", "?");
  EXPECT_EQ(v.attempts, 4);
  EXPECT_EQ(v.distinct_attempts, 3);
  EXPECT_EQ(v.hit_attempt, 1);
  EXPECT_FALSE(v.formatted);
}

TEST(Countdown, TheErrorMarkEndsAnAttemptOnlyWithACalculator) {
  const Verdict v = JudgeIt("2-5=#8*5=40,40/2=20!", "8*5=40,40/2=20", /*calculator=*/true);
  EXPECT_TRUE(v.right);
  EXPECT_TRUE(v.formatted);
  EXPECT_EQ(v.attempts, 2);
  EXPECT_EQ(v.correct_steps, 2);
  EXPECT_EQ(v.steps, 3);
  EXPECT_EQ(v.hit_attempt, 1);
  EXPECT_FALSE(JudgeIt("2-5=#8*5=40,40/2=20!", "?").formatted);
}

TEST(Countdown, AnyBytesGetAVerdict) {
  std::mt19937 rng(1);
  const std::string right = "5-2=3,3*8=24>8*5=40,40/2=20!";
  constexpr std::string_view kLikely = "0123456789+-*/=,<>!?#()\0\xff<";
  for (int i = 0; i < 20000; ++i) {
    std::string text = i % 2 == 0 ? right : "";
    for (auto n = rng() % 12; n > 0; --n) {
      const char c = rng() % 4 == 0 ? static_cast<char>(rng()) : kLikely[rng() % kLikely.size()];
      const size_t at = rng() % (text.size() + 1);
      if (rng() % 3 == 0 && at < text.size())
        text.erase(at, 1 + rng() % 3);
      else
        text.insert(at, 1, c);
    }
    const Verdict v = JudgeIt(text, text, i % 3 == 0);
    ASSERT_LE(v.distinct_attempts, v.attempts) << text;
    ASSERT_LE(v.correct_steps, v.steps) << text;
    ASSERT_LT(v.hit_attempt, v.attempts) << text;
    ASSERT_EQ(v.distinct_attempts == 0, text.empty()) << text;
    const std::optional<Evaluation> e = Evaluate(text);
    ASSERT_LE(e ? std::abs(e->value) : 0, 1'000'000) << text;
    const std::string shown = ResultAfterEquals(text);
    ASSERT_EQ(shown.empty(), !text.ends_with('=')) << text;
  }
}

TEST(Countdown, SearchersFollowTheirRules) {
  int random_hits = 0, guided_hits = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    Draws problem_draws(7, i);
    const CountdownFacts facts = FactsOf(DrawCountdown(3, problem_draws));
    for (const Searcher searcher : {Searcher::kRandom, Searcher::kGuided}) {
      Draws draws(3, i);
      const std::vector<Attempt> attempts = Search(facts.numbers, facts.target, searcher, {}, draws);
      std::set<std::string> texts;
      std::string reasoning;
      for (const Attempt& attempt : attempts) {
        texts.insert(Text(attempt));
        reasoning += Text(attempt) + Mark(attempt.result(), facts.target);
        const std::optional<Evaluation> e = Evaluate(Expression(attempt));
        ASSERT_TRUE(e && e->within_rules && e->value == attempt.result() && e->numbers.size() == 3)
            << Text(attempt) << " " << Expression(attempt);
      }
      const bool hit = attempts.back().result() == facts.target;
      const Verdict v = JudgeCountdown(facts.numbers, facts.target, false, reasoning,
                                       hit ? Text(attempts.back()) : std::string(kGiveUp));
      ASSERT_EQ(v.correct_steps, v.steps);
      ASSERT_EQ(v.right, hit);
      ASSERT_TRUE(v.formatted);
      ASSERT_EQ(v.hit_attempt, hit ? v.attempts - 1 : -1);
      (searcher == Searcher::kRandom ? random_hits : guided_hits) += hit;
      if (searcher == Searcher::kRandom) {
        ASSERT_LE(attempts.size(), 16u);
      } else {
        ASSERT_EQ(texts.size(), attempts.size());
        ASSERT_LE(attempts.size(), 20u);
        ASSERT_TRUE(hit || attempts.size() >= 8 || attempts.size() == AllAttempts(facts.numbers).size());
      }
    }
  }
  EXPECT_NEAR(random_hits, 420, 60);  // a weak start, which leaves RL something to find
  EXPECT_NEAR(guided_hits, 900, 50);
}

TEST(Countdown, EveryTargetCanBeReached) {
  for (uint64_t i = 0; i < 200; ++i) {
    Draws draws(1, i);
    const CountdownFacts facts = FactsOf(DrawCountdown(4, draws));
    ASSERT_GE(facts.target, 10);
    const std::vector<Attempt> all = AllAttempts(facts.numbers);
    ASSERT_TRUE(std::ranges::any_of(all, [&](const Attempt& a) { return a.result() == facts.target; }));
  }
}

TEST(Calculator, KnowsWhatIsARightExpression) {
  EXPECT_EQ(CalculatorResult("(5-2)*8"), "24");
  EXPECT_EQ(CalculatorResult(" 7 - 7 "), "0");
  EXPECT_EQ(CalculatorResult("2+3*4"), "14");
  EXPECT_EQ(CalculatorResult("20-3-2"), "15");
  for (const char* bad :
       {"", "5-8", "7/2", "7/0", "60+40", "1+", "(1", "1)", "a", "1 1", "999999999999", "1000*1000*2-1"})
    EXPECT_EQ(CalculatorResult(bad), "#") << bad;
  EXPECT_EQ(CalculatorResult(std::string(300, '(')), "#");
  EXPECT_EQ(CalculatorResult(std::string(100, '(') + "1" + std::string(100, ')')), "#");  // deeper than it goes
  EXPECT_EQ(ResultAfterEquals("x<5*8="), "40");
  EXPECT_EQ(ResultAfterEquals("5*8=40"), "");
  for (const char* bad : {"=", "5=", "5-8=", "*8=", "9*99=", "5x8=", "12345*1="})
    EXPECT_EQ(ResultAfterEquals(bad), "#");
}

}  // namespace
}  // namespace minke
