// How well a model does a task: its answers to problems, judged, and the numbers that docs/training.md asks
// for.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "minke/train/rollout.h"
#include "minke/train/task.h"

namespace minke {

struct EvalOptions {
  ChatFormat format = ChatFormat::kV32;
  bool opens_think = false;  // of TemplateChoice
  bool thinking = true;
  SamplingParams params;  // seed: problem i draws from (seed, stream i); max_tokens is cut to what the context leaves
  int64_t think_budget = 0;  // 0: none; with one, the answer has Task::answer_tokens
};

// Sums over judged answers; shares of nothing are NaN.
class TaskScore {
 public:
  void Add(const Verdict& verdict, const Rollout& rollout);

  int64_t problems() const { return problems_; }
  double accuracy() const { return Share(right_, problems_); }
  double standard_error() const;      // of accuracy, as of a share: sqrt(p (1 - p) / n)
  double within(int attempts) const;  // right, and solved by one of the first 2, 4 or 8 attempts
  double think_tokens() const { return Share(think_tokens_, problems_); }    // mean
  double output_tokens() const { return Share(output_tokens_, problems_); }  // mean, of chosen tokens
  double attempts() const { return Share(attempts_, problems_); }            // mean
  double distinct_attempts() const { return Share(distinct_, attempts_); }   // share of all attempts
  double correct_steps() const { return Share(correct_steps_, steps_); }     // share of all steps
  double formatted() const { return Share(formatted_, problems_); }
  double gave_up() const { return Share(gave_up_, problems_); }
  double forced() const { return Share(forced_, problems_); }  // closed by the budget
  double ended() const { return Share(ended_, problems_); }    // by the model's own end token
  int64_t chosen_tokens() const { return output_tokens_; }     // sum

 private:
  static double Share(int64_t part, int64_t whole);
  int64_t problems_ = 0, right_ = 0, think_tokens_ = 0, output_tokens_ = 0, attempts_ = 0, distinct_ = 0, steps_ = 0;
  int64_t correct_steps_ = 0, formatted_ = 0, gave_up_ = 0, forced_ = 0, ended_ = 0;
  int64_t within_[3] = {};  // 2, 4, 8
};

struct TaskResult {
  std::vector<Rollout> rollouts;
  std::vector<Verdict> verdicts;
  TaskScore score;
  double seconds = 0;
};

// The tokens of a problem's prompt under a chat format. Errors: those of EncodeChat.
Result<std::vector<TokenId>> EncodePrompt(const Tokenizer& tokenizer, const Problem& problem,
                                          const EvalOptions& options);
// Errors: kInvalidArgument for a task with calls and another format than V3.2's; those of RunRollouts.
Result<TaskResult> Evaluate(Engine& engine, const Tokenizer& tokenizer, const Task& task,
                            std::span<const Problem> problems, const EvalOptions& options,
                            const std::function<void(size_t done)>& progress = {});

// One problem a line, as Task::Read takes it. `where` names the file. Errors: with file and line number.
Result<std::vector<Problem>> ReadProblems(const Task& task, std::string_view text, std::string_view where,
                                          int64_t most);

}  // namespace minke
