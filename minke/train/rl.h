// Reinforcement learning by GRPO: questions, rollouts by the engine, rewards, and updates by the learner on the same
// weights in the same memory. Before the first update of a step the learner's log-probabilities have the bits of the
// engine's; with check_on_policy a run that finds a difference ends.
#pragma once

#include <functional>
#include <string>

#include "minke/base/thread_pool.h"
#include "minke/model/checkpoint_writer.h"
#include "minke/model/parameters.h"
#include "minke/text/chat_template.h"
#include "minke/text/tokenizer.h"
#include "minke/train/rl_config.h"
#include "minke/train/rl_report.h"

namespace minke {

struct RlHooks {
  std::function<void(const RlReport&)> on_step;
  // Asked after each step, and often while a judge is at work, then from other threads too, one at a time: a checkpoint
  // is written and the run ends. A step that a judge has not scored whole is not done: a run that goes on samples it
  // again, to the same bytes, finds the scores that had come in judge.jsonl, and asks for the rest.
  std::function<bool()> should_stop;
  std::function<void(const std::string&)> on_warning;  // a line about how the run goes on, or how it stopped
};

struct RlResult {
  bool finished = false;
  int64_t resumed_at = 0, steps = 0;
  double on_policy_max_abs_diff = 0;  // of all steps of this process
};

// Trains `parameters`. Writes config.out: step-N, metrics.jsonl, judge.jsonl where a task has a judge, and in the end
// model. Errors: as Train's; kInvalidArgument where the model's context cannot hold max_tokens; kNetwork for a judge;
// kFailed for an on-policy difference that is not 0.
Result<RlResult> TrainByReward(const RlConfig& config, Parameters& parameters, const ModelFiles& files,
                               const Tokenizer& tokenizer, const TemplateChoice& choice, const KernelSet& kernels,
                               ThreadPool& pool, const RlHooks& hooks);

}  // namespace minke
