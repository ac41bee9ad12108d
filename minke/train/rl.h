// Reinforcement learning by GRPO: questions, rollouts by the engine, rewards, and updates by the learner on the same
// weights in the same memory. Before the first update of a step the learner's log-probabilities have the bits of the
// engine's; with check_on_policy a run that finds a difference ends.
#pragma once

#include <functional>

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
  std::function<bool()> should_stop;
};

struct RlResult {
  bool finished = false;
  int64_t resumed_at = 0, steps = 0;
  double on_policy_max_abs_diff = 0;  // of all steps of this process
};

// Trains `parameters`. Writes config.out: step-N, metrics.jsonl, judge.jsonl where a task
// has a judge, and in the end model. Errors: as Train's, kNetwork for a judge, and kFailed
// for an on-policy difference that is not 0.
Result<RlResult> TrainByReward(const RlConfig& config, Parameters& parameters, const ModelFiles& files,
                               const Tokenizer& tokenizer, const TemplateChoice& choice, const KernelSet& kernels,
                               ThreadPool& pool, const RlHooks& hooks);

}  // namespace minke
