// From questions to judged samples: the part of a step of `minke rl` that changes no weights.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "minke/base/result.h"
#include "minke/engine/engine.h"
#include "minke/model/learner.h"
#include "minke/text/chat_template.h"
#include "minke/text/tokenizer.h"
#include "minke/train/grpo.h"
#include "minke/train/judge.h"
#include "minke/train/rl_config.h"
#include "minke/train/rl_report.h"
#include "minke/train/rollout.h"
#include "minke/train/task.h"

namespace minke {

// One answer and all that learning from it needs.
struct Episode {
  size_t task = 0;              // index in the configuration
  int64_t question = 0;         // of the step
  std::vector<TokenId> tokens;  // prompt and answer
  int64_t prompt = 0;           // tokens of the prompt
  Rollout rollout;
  Verdict verdict;
  std::string judge_question;  // empty without a judge
  double judge_reward = 0;
  double reward = 0, advantage = 0;
  // Filled by the learner, for updates that need them.
  std::vector<float> old_logprobs, ref_logprobs;  // [answer] 0 where not chosen
  KeptSets kept;
  Replay replay;

  std::span<const TokenId> answer() const { return std::span(tokens).subspan(static_cast<size_t>(prompt)); }
};

// How the answers of a step (from 0) are sampled, but for what each request has of its own.
SamplingParams SamplingOf(const RlConfig& config, int64_t step);

// Draws the questions of a step, has the engine answer them, and rewards the answers. One thread. All of it is a pure
// function of (configuration, weights, step), but for what a judge says; and that is kept in OUT/judge.jsonl.
class EpisodeMaker {
 public:
  // References are kept. Errors: kInvalidArgument for a task that this model's format cannot play or a judge without
  // its key; those of opening the judges' book.
  static Result<std::unique_ptr<EpisodeMaker>> Create(const RlConfig& config, const Tokenizer& tokenizer,
                                                      const TemplateChoice& choice);

  // `step` from 0, `context` in tokens; `should_stop` as RlHooks has it. Episodes by question, `config.answers` of
  // each; adds the step's shares, means and times to `report`. Errors: kInvalidArgument for a prompt that does not fit
  // the context; those of rollouts and of judges, kCancelled among them.
  Result<std::vector<Episode>> Make(Engine& engine, int64_t context, int64_t step,
                                    const std::function<bool()>& should_stop, RlReport& report);

 private:
  EpisodeMaker(const RlConfig& config, const Tokenizer& tokenizer, const TemplateChoice& choice)
      : config_(config), tokenizer_(tokenizer), choice_(choice) {}

  // The task of a question: by its share, a draw for each question of the run.
  size_t TaskOf(uint64_t index) const;
  Result<std::vector<Episode>> Roll(Engine& engine, int64_t context, int64_t step, RlReport& report);
  Status AskJudges(int64_t step, const std::function<bool()>& should_stop, std::vector<Episode>& episodes,
                   RlReport& report);
  void Reward(std::vector<Episode>& episodes, RlReport& report) const;

  const RlConfig& config_;
  const Tokenizer& tokenizer_;
  const TemplateChoice& choice_;
  std::vector<std::unique_ptr<const Task>> tasks_;
  std::vector<std::optional<AnswerJudge>> judges_;  // [tasks]
  std::optional<JudgeBook> judge_book_;
};

}  // namespace minke
