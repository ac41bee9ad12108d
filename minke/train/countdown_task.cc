// countdown, countdown4 and countdown-tool: one problem, with three or four numbers, or with a calculator that writes
// each result right behind the model's "=".
#include "minke/train/calculator.h"
#include "minke/train/countdown.h"
#include "minke/train/task_kinds.h"

namespace minke {
namespace {

class CalculatorInline : public Environment {
 public:
  std::string OnText(std::string_view text) override { return ResultAfterEquals(text); }
};

// What stands between "=" and the next other character is the calculator's.
std::vector<TracePart> SplitResults(std::string_view text) {
  std::vector<TracePart> parts;
  for (size_t pos = 0; pos < text.size();) {
    const size_t equals = text.find('=', pos);
    if (equals == std::string_view::npos) {
      parts.push_back({std::string(text.substr(pos))});
      break;
    }
    parts.push_back({std::string(text.substr(pos, equals + 1 - pos))});
    pos = equals + 1;
    const bool error = text.substr(pos).starts_with(kErrorMark);  // the digits behind it begin the next attempt
    const size_t end = error ? pos + 1 : std::min(text.find_first_not_of("0123456789", pos), text.size());
    if (end > pos) parts.push_back({std::string(text.substr(pos, end - pos)), /*loss=*/false});
    pos = end;
  }
  return parts;
}

class Countdown : public Task {
 public:
  Countdown(const char* name, int count, bool calculator) : name_(name), count_(count), calculator_(calculator) {}

  std::string name() const override { return name_; }
  Result<Problem> Read(const Json& line) const override { return ReadCountdown(count_, line); }

  Verdict Judge(const Problem& problem, std::string_view reasoning, std::string_view content) const override {
    const CountdownFacts facts = FactsOf(problem);
    return JudgeCountdown(facts.numbers, facts.target, calculator_, reasoning, content);
  }

  Trace Demonstrate(const Problem& problem, uint64_t seed, Searcher searcher) const override {
    const CountdownFacts facts = FactsOf(problem);
    Draws draws(seed, HashText(problem.id));
    const std::vector<Attempt> attempts = Search(facts.numbers, facts.target, searcher, {}, draws);
    Trace trace;
    for (const Attempt& attempt : attempts) {
      if (calculator_ && draws.OneIn(16)) trace.reasoning += Mistake(facts.numbers, draws);
      trace.reasoning += Text(attempt) + Mark(attempt.result(), facts.target);
    }
    trace.content = attempts.back().result() == facts.target ? Text(attempts.back()) : std::string(kGiveUp);
    if (calculator_) {
      std::string all = trace.reasoning;
      all.append(kEndOfThinking).append(trace.content).append(markers::kEnd);
      trace.parts = SplitResults(all);
    }
    return trace;
  }

  std::unique_ptr<Environment> MakeEnvironment(bool /*thinking*/) const override {
    return calculator_ ? std::make_unique<CalculatorInline>() : nullptr;
  }

 protected:
  Problem Draw(Draws& draws) const override { return DrawCountdown(count_, draws); }

 private:
  // A step that has no result, so that a model has seen '#' and goes on after it. Of two numbers one is no multiple of
  // the other, or a difference is negative; "" where the numbers are all equal.
  static std::string Mistake(std::span<const int> numbers, Draws& draws) {
    const int a = draws.Choose(numbers), b = draws.Choose(numbers);
    if (a >= b) return {};
    return fmt::format("{}{}{}={}", a, draws.OneIn(2) ? '-' : '/', b, kErrorMark);
  }

  const char* name_;
  int count_;
  bool calculator_;
};

template <int kCount, bool kCalculator>
Result<std::unique_ptr<const Task>> Make(const char* name, std::span<const std::string> parameters) {
  MINKE_TRY(AtMostParameters(parameters, 0));
  return std::make_unique<Countdown>(name, kCount, kCalculator);
}

}  // namespace

const TaskKind kCountdownKind = {
    "countdown", "", "reach a target with three numbers, thinking in attempts",
    [](std::span<const std::string> parameters) { return Make<3, false>("countdown", parameters); }};
const TaskKind kCountdown4Kind = {
    "countdown4", "", "the same with four numbers",
    [](std::span<const std::string> parameters) { return Make<4, false>("countdown4", parameters); }};
const TaskKind kCountdownToolKind = {
    "countdown-tool", "", "countdown with a calculator that writes the result behind every =",
    [](std::span<const std::string> parameters) { return Make<3, true>("countdown-tool", parameters); }};

}  // namespace minke
