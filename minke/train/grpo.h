// GRPO's objective on logits, with V3.2's stabilisers (V3.2 report 3.1; docs/training.md: GRPO). The gradient takes the
// logits' place.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "minke/base/thread_pool.h"
#include "minke/base/token_id.h"
#include "minke/kernels/kernel_set.h"
#include "minke/tensor/view.h"

namespace minke {

struct GrpoOptions {
  float clip = 0.2f;        // epsilon
  float beta = 0;           // of the KL term against the reference
  float delta = 0.05f;      // of the off-policy sequence mask
  float temperature = 1;    // that the sampler used
  bool unbiased_kl = true;  // K3 times the ratio; else plain K3
  bool sequence_mask = true;
};

// The tokens that top-p or top-k kept at each token of an answer.
struct KeptSets {
  std::vector<int32_t> begin;   // [tokens + 1]; an empty set is the whole vocabulary
  std::vector<TokenId> tokens;  // ascending in each set

  // Of token i; empty: the whole vocabulary.
  std::span<const TokenId> At(size_t i) const {
    return std::span(tokens).subspan(static_cast<size_t>(begin[i]), static_cast<size_t>(begin[i + 1] - begin[i]));
  }
};

// One answer. Row first_row + i of the logits has predicted tokens[i]. Ids below vocab_size; a chosen token is one of
// its kept set.
struct GrpoSequence {
  int64_t first_row = 0;
  std::span<const TokenId> tokens;
  std::span<const uint8_t> chosen;      // [tokens] 1: an action of the policy; others carry no loss
  std::span<const float> old_logprobs;  // [tokens] by the policy that sampled
  std::span<const float> ref_logprobs;  // [tokens] by the reference; empty without a KL term
  const KeptSets* kept = nullptr;       // or null: the whole vocabulary
  float advantage = 0;
  float weight = 0;  // 1 / (questions * answers)
};

struct GrpoFacts {
  double loss = 0;            // -J
  double kl = 0;              // mean over sequences of the mean of KL_t
  double mean_ratio_log = 0;  // mean over tokens of |log ratio|
  double max_ratio_log = 0;
  int64_t tokens = 0, clipped_tokens = 0;  // chosen ones
  int64_t sequences = 0, masked_sequences = 0;
};

// log of the policy's probability of `token` (one of `kept`) by `logits` [vocab_size] under `temperature` and `kept`
// (empty: all). At temperature 1 and with all tokens, these are the bits of the engine's own logprob.
float PolicyLogprob(const KernelSet& kernels, std::span<const float> logits, TokenId token, float temperature,
                    std::span<const TokenId> kept);

// The loss -J of `sequences` together, their weights included, and its gradient in place of the logits [rows,
// vocab_size], F32, as Learner::Forward returns them; rows of no sequence's chosen token become zero. `options`
// [sequences]. Sequences share no row. Sums are in the order of sequences and tokens, whatever the threads do. It
// cannot fail: sizes that contradict each other or the rows are the caller's bug and end the process (MINKE_CHECK);
// logits that are not finite give a loss that is not.
GrpoFacts GrpoLoss(const KernelSet& kernels, ThreadPool& pool, TensorView<float, 2> logits,
                   std::span<const GrpoSequence> sequences, std::span<const GrpoOptions> options);

}  // namespace minke
