// Reinforcement learning by GRPO: questions, rollouts by the engine, rewards, and updates by the learner on the same
// weights in the same memory. Before the first update of a step the learner's log-probabilities have the bits of the
// engine's; with check_on_policy a run that finds a difference ends.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "minke/base/thread_pool.h"
#include "minke/model/checkpoint_writer.h"
#include "minke/model/parameters.h"
#include "minke/text/chat_template.h"
#include "minke/text/tokenizer.h"
#include "minke/train/rl_config.h"

namespace minke {

struct RlTaskReport {
  int64_t rollouts = 0;
  double reward = 0, accuracy = 0, think_tokens = 0, forced = 0, formatted = 0;  // means
};

struct RlReport {
  int64_t step = 0, total_steps = 0;  // from 1
  std::vector<RlTaskReport> tasks;    // as in the configuration
  RlTaskReport all;
  double judge = 0;  // mean score of the judges, 0..10
  int64_t judged = 0, judge_failed = 0;
  double on_policy_max_abs_diff = 0;
  int64_t tokens = 0;                 // that the policy chose
  int64_t skipped_questions = 0;      // all answers had the same reward
  int64_t updates = 0;                // mini-batches with something to learn
  double loss = 0, kl = 0, norm = 0;  // means over updates
  double clipped = 0, masked = 0;     // shares of tokens, of sequences
  double mean_ratio_log = 0, max_ratio_log = 0;
  double rollout_seconds = 0, judge_seconds = 0, learn_seconds = 0;
  double cpu_seconds = 0;  // of the whole process
};

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
