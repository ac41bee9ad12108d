// The rules of countdown and how attempts are written (tests/data/nano-hf/README.md, docs/training.md). Numbers are
// combined by + - * / until one is left, each used once, every result a whole number in 1..99:
//
//   5-2=3,3*8=24>5*2=10,10+8=18<8*5=40,40/2=20!          attempts with their marks: < below, > above the target, ! hit
//
// With a calculator, which writes the results, a step that has none shows '#' and ends its attempt: 5-8=#
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "minke/train/draws.h"
#include "minke/train/task.h"

namespace minke {

struct Step {
  int a = 0, b = 0;
  char op = '+';
  int result = 0;
};

struct Attempt {
  std::vector<Step> steps;  // [numbers - 1]
  int result() const { return steps.back().result; }
};

// What the rules allow: a whole number in 1..99.
std::optional<int> Combine(int a, char op, int b);
// Any whole number; nothing for a division that leaves a rest. |a|, |b| at most 2^30.
std::optional<int64_t> Calculate(int64_t a, char op, int64_t b);
inline constexpr std::string_view kOperators = "+-*/";
inline constexpr char kErrorMark = '#';
inline constexpr std::string_view kGiveUp = "?";

std::string Text(const Attempt& attempt);        // "5-2=3,3*8=24"
std::string Expression(const Attempt& attempt);  // "(5-2)*8"
char Mark(int result, int target);               // '<', '>' or '!'

Attempt RandomAttempt(std::span<const int> numbers, Draws& draws);
// All that the rules allow, each text once.
std::vector<Attempt> AllAttempts(std::span<const int> numbers);

// Attempts in the order in which a searcher makes them, up to the first hit; without a hit it has given up.
// kRandom: with replacement, at most U(1, most). kGuided: distinct ones, nearer results first for the most part,
// giving up after U(least, most).
struct SearchLimits {
  int random_most = 16, guided_least = 8, guided_most = 20;
};
std::vector<Attempt> Search(std::span<const int> numbers, int target, Searcher searcher, SearchLimits limits,
                            Draws& draws);

// Strict and total. `calculator`: the form where '#' may stand for a result.
Verdict JudgeCountdown(std::span<const int> numbers, int target, bool calculator, std::string_view reasoning,
                       std::string_view content);
// Whether `content` is one line of steps that is right and leaves the target; `formatted`: a line, or "?".
bool SolvesCountdown(std::span<const int> numbers, int target, std::string_view content, bool* formatted);

// Problems: 1..12 each, the target one of the reachable numbers from 10 on, all equally likely.
Problem DrawCountdown(int count, Draws& draws);
Result<Problem> ReadCountdown(int count, const Json& line);
struct CountdownFacts {
  std::vector<int> numbers;
  int target = 0;
};
CountdownFacts FactsOf(const Problem& problem);

}  // namespace minke
