// The configuration of `minke rl`: GRPO on one or more tasks (docs/training.md has every key).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/engine/sampling.h"
#include "minke/train/grpo.h"
#include "minke/train/optimizer.h"
#include "minke/train/reward.h"

namespace minke {

// One task of the mix.
struct RlTask {
  std::string name;           // as FindTask takes it
  double share = 1;           // of the questions, beside the other tasks' shares
  int64_t think_budget = 96;  // thinking tokens, then </think> is forced; 0: none, and no thinking where think = false
  bool think = true;
  int64_t answer_tokens = 0;  // 0: the task's own
  double beta = 0;            // of the KL term against the reference, this domain's own
  RewardOptions reward;
};

struct RlConfig {
  std::string out, model;
  uint64_t seed = 1;
  int64_t threads = 0;
  int64_t steps = 0;
  int64_t questions = 16, answers = 8;  // a step has questions * answers rollouts
  int64_t mini_batches = 2;             // updates a step, each on its share of the questions
  int64_t micro_tokens = 8192;          // in one forward pass of the learner
  int64_t max_tokens = 640;             // of an answer, thinking and all
  int64_t max_sequences = 128;          // in one batch of the engine
  int64_t checkpoint_every = 25;
  int64_t reference_every = 0;  // steps after which the reference becomes the policy; 0: never
  double lr = 2e-4;
  int64_t warmup_steps = 0;
  double indexer_lr = 0;  // 0: the indexers stay as they are
  float temperature = 1, top_p = 1, min_p = 0;
  int64_t top_k = 0;
  bool dense = false;  // attention, of rollouts and learner
  bool keep_routing = true, replay_index = true, keep_sampling_mask = true, check_on_policy = true;
  GrpoOptions grpo;
  AdamWOptions adamw = {.beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .weight_decay = 0, .clip = 1.0f};
  std::vector<RlTask> tasks;

  bool filters() const { return top_p < 1 || top_k > 0 || min_p > 0; }
  bool has_reference() const;
  bool has_judge() const;
  Json ToJson() const;
};

// Errors: kInvalidArgument with file, line and key.
Result<RlConfig> ReadRlConfig(const std::string& path);

}  // namespace minke
