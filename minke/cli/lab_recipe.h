// The numbers of `minke lab`: all that one may want to change about the experiment, and nothing else.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "minke/base/json.h"

namespace minke {

// Dense attention, then the indexers alone, then both through sparse attention (V3.2 report 2.1.1, scaled down).
struct LabTraining {
  int64_t examples = 0, tool_examples = 0;  // demonstrations of each task; of the task with a calculator
  int64_t long_examples = 0;                // of four numbers: as long as RL's thinking becomes
  int64_t dense_steps = 0, warmup_steps = 0, sparse_steps = 0;
  int64_t sequence_tokens = 512, batch_tokens = 4096;
  double lr = 2e-3, lr_end = 4e-4;                // dense
  double sparse_lr = 4e-4, sparse_lr_end = 4e-5;  // sparse, and its dense control
  double indexer_lr = 1e-3;                       // warm-up and sparse
  double mtp_weight = 0, bias_speed = 1e-3, balance_weight = 1e-4;
};

// One dose of the length limit: what a hundred thinking tokens cost, and the budget.
struct LabArm {
  const char* name;
  double length_penalty;
  int64_t think_budget, steps;
};

struct LabRl {
  int64_t questions = 16, answers = 8, mini_batches = 2, answer_tokens = 24;
  double lr = 1e-4;  // at 2e-4 right steps go wrong: in 100 steps from nano-sft 9 in a hundred instead of 2
  int64_t checkpoint_every = 10;
};

struct LabEval {
  int64_t problems = 400;
  std::vector<int64_t> budgets = {48, 96, 192, 384, 640};
  uint64_t problem_seed = 1;
};

// A document many times as long as what the indexer selects.
struct LabLookup {
  int64_t times_topk = 8;
  int64_t short_steps = 0;  // of dense training on short documents alone, before all: finding a key is learnt there
  int64_t keys_trained = 8, keys_asked = 1, problems = 200;
};

struct LabMix {
  int64_t specialist_steps = 60, mixed_steps = 40, think_budget = 192;
  int64_t samples = 4000;  // rollouts of each specialist, of which the accepted ones are learnt
  int64_t distill_steps = 120, problems = 200;
  double lr = 4e-4, lr_end = 4e-5;
};

// A layer with V3.2's attention; the rest of the model is small.
struct LabCost {
  int64_t hidden = 7168, heads = 128, q_lora_rank = 1536, kv_lora_rank = 512, index_heads = 64, index_topk = 2048;
  std::vector<int64_t> depths = {0, 4096, 16384, 65536, 131072};
  int64_t prompt_tokens = 32, decode_tokens = 8, repetitions = 1;
};

struct LabRecipe {
  double scale = 1;
  LabTraining countdown, lookup_training;
  std::vector<LabArm> arms;
  LabRl rl;
  LabEval eval;
  LabLookup lookup;
  LabMix mix;
  LabCost cost;
  int64_t heldout_documents = 400, recall_documents = 24;
  int64_t parity_problems = 1600;  // dense against sparse: a difference of two points has to show

  // All steps, examples and problems times `factor`, at least what runs at all.
  void ScaleBy(double factor);
  Json ToJson() const;
};

// Under 90 minutes on two cores.
LabRecipe FullLabRecipe();
// RL alone, from a model that is trained already: under 5 minutes.
LabRecipe QuickLabRecipe();

}  // namespace minke
