// From judged samples to weights: the learner's passes over a step's episodes, and GRPO's updates (V3.2 report 3.1).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/thread_pool.h"
#include "minke/engine/sampler.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/learner.h"
#include "minke/model/parameters.h"
#include "minke/train/episode.h"
#include "minke/train/optimizer.h"
#include "minke/train/rl_config.h"
#include "minke/train/rl_report.h"

namespace minke {

// Owns the learner and the optimiser of a run. One thread. Bytes do not depend on the pool's threads.
class RlUpdater {
 public:
  // References are kept. `context`: tokens of the longest episode. Errors: those of Learner::Create.
  static Result<std::unique_ptr<RlUpdater>> Create(const RlConfig& config, int64_t context, Parameters& parameters,
                                                   const KernelSet& kernels, ThreadPool& pool);
  // The weights of the KL term from now on, kept as a reference; where config.has_reference(), before the first Learn.
  Status SetReference(Parameters& reference);

  // The updates of `step` (from 0), config.mini_batches of them in the order of their questions; those with nothing to
  // learn are left out. Fills the learner's part of the episodes, and of `report`. Errors: kFailed for a loss or
  // gradient that is not finite, with the tensor's name, and with check_on_policy for an answer whose log-probabilities
  // are not the rollout's; then weights may have changed by earlier updates of the step.
  Status Learn(std::vector<Episode>& episodes, int64_t step, RlReport& report);

  AdamW& optimizer() { return optimizer_; }

 private:
  RlUpdater(const RlConfig& config, int64_t context, Parameters& parameters, const KernelSet& kernels, ThreadPool& pool)
      : config_(config),
        context_(context),
        parameters_(parameters),
        kernels_(kernels),
        pool_(pool),
        optimizer_(parameters, kernels, pool, config.adamw),
        sampler_(kernels, parameters.model()->config().vocab_size) {}

  Result<std::unique_ptr<Learner>> MakeLearner(Parameters& parameters) const;
  // Old log-probabilities, kept sets and choices, by the weights that sampled.
  Status Score(std::span<Episode* const> episodes, RlReport& report);
  Status ScoreReference(std::span<Episode* const> episodes);
  // `logits` [rows, vocab_size]: row first_row + i has predicted token i of the answer.
  void Compare(const Episode& episode, TensorView<const float, 2> logits, int64_t first_row, RlReport& report) const;
  Status Update(std::span<Episode* const> episodes, bool stale, double rate, RlReport& report);
  Status CheckOnPolicy(const RlReport& report) const;

  // Whether the policy's distribution is not simply the softmax that the engine reports.
  bool reshapes() const { return config_.filters() || config_.temperature != 1; }
  bool keeps_sets() const { return config_.filters() && config_.keep_sampling_mask; }

  const RlConfig& config_;
  const int64_t context_;
  Parameters& parameters_;
  const KernelSet& kernels_;
  ThreadPool& pool_;
  AdamW optimizer_;
  Sampler sampler_;
  std::unique_ptr<Learner> learner_, reference_learner_;
};

}  // namespace minke
