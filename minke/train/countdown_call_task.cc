// countdown-call: a calculator behind V3.2's call markup. Each attempt is one call with a whole expression; after its
// result the model thinks again, and its first words are the verdict:
//
//   <think></think> call (5-2)*8   result 24
//   <think>24></think> call (8*5)/2   result 20
//   <think>20!</think>8*5=40,40/2=20
#include <algorithm>
#include <unordered_set>

#include "minke/base/check.h"
#include "minke/text/chat_parser.h"
#include "minke/train/calculator.h"
#include "minke/train/countdown.h"
#include "minke/train/task_kinds.h"

namespace minke {
namespace {

constexpr const char* kToolName = "calculator";
constexpr const char* kArgument = "expression";
constexpr std::string_view kTool =
    R"({"name": "calculator", "description": "Calculates.", "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]}})";

// What the arguments of a call give; '#' for a call that is none of ours.
std::string Answer(const ToolCall& call) {
  const auto arguments = PromptJson::Parse(call.arguments, kToolName);
  const PromptJson* expression = arguments ? arguments->Find(kArgument) : nullptr;
  if (call.name != kToolName || !expression || !expression->is_string()) return std::string(1, kErrorMark);
  return CalculatorResult(expression->text());
}

class CalculatorCalls : public Environment {
 public:
  explicit CalculatorCalls(bool thinking) : mode_(thinking ? ThinkingMode::kThinking : ThinkingMode::kChat) {}

  std::string OnEnd(std::string_view text) override {
    std::string turn(text.substr(std::min(done_, text.size())));
    turn += markers::kEnd;
    const Message written = ParseTolerantly(ChatFormat::kV32, turn, mode_, /*cut=*/false).message;
    if (written.tool_calls.empty()) return {};
    const Message before[] = {{.role = "user"}, written};
    std::vector<Message> results;
    for (const ToolCall& call : written.tool_calls) results.push_back({.role = "tool", .content = Answer(call)});
    EncodeOptions options{.thinking_mode = mode_, .context = before};
    auto shown = EncodeChat(ChatFormat::kV32, results, options);
    if (!shown) return {};  // the arguments nest too deeply to be shown, say: the answer ends here
    done_ = text.size() + shown->size();
    return std::move(*shown);
  }

 private:
  ThinkingMode mode_;
  size_t done_ = 0;  // where the turn that is being written begins
};

// The expressions of all calls in a raw text.
std::vector<std::string_view> Expressions(std::string_view text) {
  static const std::string open = fmt::format("{} name=\"{}\" string=\"true\">", markers::kParameter, kArgument);
  std::vector<std::string_view> found;
  for (size_t pos = 0; (pos = text.find(open, pos)) != std::string_view::npos;) {
    pos += open.size();
    const size_t end = text.find(markers::kParameterEnd, pos);
    if (end == std::string_view::npos) break;
    found.push_back(text.substr(pos, end - pos));
    pos = end;
  }
  return found;
}

class CountdownCall : public Task {
 public:
  explicit CountdownCall(bool bare) : bare_(bare) {}

  std::string name() const override { return bare_ ? "countdown-call:bare" : "countdown-call"; }
  std::unique_ptr<Environment> MakeEnvironment(bool thinking) const override {
    return std::make_unique<CalculatorCalls>(thinking);
  }
  int64_t answer_tokens() const override { return 160; }  // a call's markup, byte by byte in nano's vocabulary
  bool has_calls() const override { return true; }

  Result<Problem> Read(const Json& line) const override {
    MINKE_ASSIGN(Problem problem, ReadCountdown(3, line));
    AddTool(problem);
    return problem;
  }

  Verdict Judge(const Problem& problem, std::string_view reasoning, std::string_view content) const override {
    const CountdownFacts facts = FactsOf(problem);
    Verdict verdict;
    verdict.right = SolvesCountdown(facts.numbers, facts.target, content, &verdict.formatted);
    verdict.gave_up = content == kGiveUp;
    std::unordered_set<std::string_view> seen;
    for (const std::string_view expression : Expressions(reasoning)) {
      const std::optional<Evaluation> evaluation = Evaluate(expression);
      seen.insert(expression);
      ++verdict.steps;
      if (evaluation && Fits(*evaluation, facts.numbers)) {
        ++verdict.correct_steps;
        const bool whole = evaluation->numbers.size() == facts.numbers.size();
        if (whole && evaluation->value == facts.target && verdict.hit_attempt < 0)
          verdict.hit_attempt = verdict.attempts;
      }
      verdict.formatted &= evaluation.has_value();
      ++verdict.attempts;
    }
    verdict.distinct_attempts = static_cast<int>(seen.size());
    return verdict;
  }

  Trace Demonstrate(const Problem& problem, uint64_t seed, Searcher searcher) const override {
    const CountdownFacts facts = FactsOf(problem);
    Draws draws(seed, HashText(problem.id));
    // Few: the markup costs far more tokens than the arithmetic.
    const SearchLimits limits{.random_most = 4, .guided_least = 2, .guided_most = 4};
    Trace trace;
    std::string verdict;
    const std::vector<Attempt> attempts = Search(facts.numbers, facts.target, searcher, limits, draws);
    for (const Attempt& attempt : attempts) {
      std::string arguments = fmt::format("{{\"{}\": ", kArgument);
      AppendJsonString(arguments, Expression(attempt));
      arguments += '}';
      trace.messages.push_back({.role = "assistant",
                                .reasoning_content = verdict,
                                .tool_calls = {{.name = kToolName, .arguments = std::move(arguments)}}});
      trace.messages.push_back({.role = "tool", .content = std::to_string(attempt.result())});
      verdict = fmt::format("{}{}", attempt.result(), Mark(attempt.result(), facts.target));
    }
    const bool hit = attempts.back().result() == facts.target;
    trace.messages.push_back({.role = "assistant",
                              .content = hit ? Text(attempts.back()) : std::string(kGiveUp),
                              .reasoning_content = verdict});
    const auto text = TextOfMessages(problem, trace.messages);
    MINKE_CHECK(text.has_value());  // our own messages
    trace.content = trace.messages.back().content;
    trace.reasoning = text->substr(0, text->size() - trace.content.size() - kEndOfThinking.size());
    return trace;
  }

 protected:
  Problem Draw(Draws& draws) const override {
    Problem problem = DrawCountdown(3, draws);
    AddTool(problem);
    return problem;
  }

 private:
  void AddTool(Problem& problem) const {
    if (!bare_) problem.tools = {*PromptJson::Parse(kTool, kToolName)};
  }
  // The rules hold and every number is one of the problem's, each once.
  static bool Fits(const Evaluation& evaluation, std::vector<int> numbers) {
    if (!evaluation.within_rules || evaluation.operations == 0) return false;
    for (const int number : evaluation.numbers) {
      const auto found = std::ranges::find(numbers, number);
      if (found == numbers.end()) return false;
      numbers.erase(found);
    }
    return true;
  }

  bool bare_;  // no definition of the tool in the prompt, which is a thousand of nano's tokens
};

}  // namespace

const TaskKind kCountdownCallKind = {
    "countdown-call", "[:bare]",
    "countdown with calculator(expression) in V3.2's calls; bare: not defined in the prompt",
    [](std::span<const std::string> parameters) -> Result<std::unique_ptr<const Task>> {
      MINKE_TRY(AtMostParameters(parameters, 1));
      if (!parameters.empty() && parameters[0] != "bare")
        return Fail(Code::kInvalidArgument, "\"{}\" is not bare", parameters[0]);
      return std::make_unique<CountdownCall>(!parameters.empty());
    }};

}  // namespace minke
