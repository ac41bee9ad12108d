#include "minke/train/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

namespace minke {

void TaskScore::Add(const Verdict& verdict, const Rollout& rollout) {
  ++problems_;
  right_ += verdict.right;
  for (int k = 0; k < 3; ++k) within_[k] += verdict.right && verdict.hit_attempt >= 0 && verdict.hit_attempt < (2 << k);
  think_tokens_ += rollout.think_tokens;
  output_tokens_ += rollout.num_chosen();
  attempts_ += verdict.attempts, distinct_ += verdict.distinct_attempts;
  steps_ += verdict.steps, correct_steps_ += verdict.correct_steps;
  formatted_ += verdict.formatted, gave_up_ += verdict.gave_up;
  forced_ += rollout.forced, ended_ += rollout.ended;
}

double TaskScore::Share(int64_t part, int64_t whole) {
  if (whole == 0) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(part) / static_cast<double>(whole);
}

double TaskScore::standard_error() const {
  return std::sqrt(accuracy() * (1 - accuracy()) / static_cast<double>(problems_));
}

double TaskScore::within(int attempts) const {
  return Share(within_[attempts <= 2 ? 0 : attempts <= 4 ? 1 : 2], problems_);
}

Result<std::vector<TokenId>> EncodePrompt(const Tokenizer& tokenizer, const Problem& problem,
                                          const EvalOptions& options) {
  EncodeOptions encode;
  encode.thinking_mode = options.thinking ? ThinkingMode::kThinking : ThinkingMode::kChat;
  encode.opens_think = options.opens_think;
  MINKE_ASSIGN(const std::string text, EncodeChat(options.format, PromptMessages(problem), encode));
  return tokenizer.Encode(text);
}

Result<TaskResult> Evaluate(Engine& engine, const Tokenizer& tokenizer, const Task& task,
                            std::span<const Problem> problems, const EvalOptions& options,
                            const std::function<void(size_t done)>& progress) {
  if (task.has_calls() && options.format != ChatFormat::kV32)
    return Fail(Code::kInvalidArgument, "task {}: its calls are written in the format v32, this model's is {}",
                task.name(), Name(options.format));
  std::vector<RolloutRequest> requests(problems.size());
  for (size_t i = 0; i < problems.size(); ++i) {
    RolloutRequest& request = requests[i];
    MINKE_ASSIGN(request.prompt, EncodePrompt(tokenizer, problems[i], options));
    request.thinking = options.thinking;
    request.params = options.params;
    request.params.stream = i;
    const int64_t most = engine.MostTokens(static_cast<int64_t>(request.prompt.size()));
    if (most >= 1) request.params.max_tokens = std::min(most, request.params.max_tokens);
    request.think_budget = options.think_budget;
    if (options.think_budget > 0) request.answer_tokens = task.answer_tokens();
    request.environment = task.MakeEnvironment(options.thinking);
  }
  TaskResult result;
  const auto start = std::chrono::steady_clock::now();
  MINKE_ASSIGN(result.rollouts, RunRollouts(engine, tokenizer, requests, progress));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (size_t i = 0; i < problems.size(); ++i) {
    const Rollout& rollout = result.rollouts[i];
    result.verdicts.push_back(task.Judge(problems[i], rollout.reasoning, rollout.content));
    result.score.Add(result.verdicts.back(), rollout);
  }
  return result;
}

Result<std::vector<Problem>> ReadProblems(const Task& task, std::string_view text, std::string_view where,
                                          int64_t most) {
  std::vector<Problem> problems;
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size() && std::ssize(problems) < most;) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1, ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    MINKE_ASSIGN(const Json json, ParseJson(line, fmt::format("{}:{}", where, number)));
    auto problem = task.Read(json);
    if (!problem)
      return Fail(problem.error().code, "{}:{}: no problem of {}: {}", where, number, task.name(),
                  problem.error().message);
    problems.push_back(std::move(*problem));
  }
  if (problems.empty()) return Fail(Code::kDamaged, "{}: no problems: write one JSON object a line", where);
  return problems;
}

}  // namespace minke
