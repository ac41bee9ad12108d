// One row of logits -> one token. The transformations, in this order:
//   1. repetition penalty r on tokens of prompt and output: l > 0 ? l / r : l * r
//   2. presence and frequency penalty on output tokens: l - presence - frequency * count
//   3. logit bias: l + bias
//   4. temperature 0: the largest l, lowest id on ties. Done.
//   5. top-k: the k largest l, lower ids first on ties
//   6. softmax of l / temperature
//   7. top-p: the fewest most likely tokens that together have at least top_p
//   8. min-p: those with at least min_p times the largest probability
//   9. one uniform number picks from what is left, in proportion
// (Temperature keeps the order of logits, so 5 before 6 is the usual "temperature, then top-k".)
//
// Log-probabilities are log-softmax of the model's own logits, before step 1, by KernelSet::log_sum_exp.
//
// The number of step 9 for output token i is Philox(seed, stream).Uniform(i): nothing else enters, so an answer
// does not depend on its neighbours in the batch. Given tokens (token_sink.h) count in i, and use no number. Nothing is
// allocated per draw. Cost is linear in the vocabulary; only the kept tokens of top-p are ordered.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/token_id.h"
#include "minke/engine/sampling.h"
#include "minke/engine/token_history.h"
#include "minke/kernels/kernel_set.h"

namespace minke {

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;
};

struct Sample {
  TokenId token = 0;
  float logprob = 0;                  // 0 unless params.logprobs
  std::span<const TokenLogprob> top;  // most likely first, lower id on ties; valid until the next draw
};

// Scratch for one vocabulary; one thread.
class Sampler {
 public:
  Sampler(const KernelSet& kernels, int64_t vocab_size);

  // `logits` [vocab_size]; `index` counts the request's output tokens, given ones too, from 0; `history` is read only
  // if params.has_penalties(). Errors: kFailed when the logits hold NaN or +inf or nothing finite.
  Result<Sample> Draw(std::span<const float> logits, const SamplingParams& params, const TokenHistory& history,
                      uint64_t seed, int64_t index);
  // The same token without its log-probabilities.
  Result<TokenId> Choose(std::span<const float> logits, const SamplingParams& params, const TokenHistory& history,
                         uint64_t seed, int64_t index);

  // The tokens among which Choose would draw, in no order that means anything; valid until the next call. For training,
  // which renormalises over the same ones (spec: keep sampling mask). No penalties; temperature above 0.
  Result<std::span<const TokenId>> Kept(std::span<const float> logits, const SamplingParams& params);

 private:
  struct Candidate {
    float probability;
    TokenId token;
  };

  std::span<const float> Adjust(std::span<const float> logits, const SamplingParams& params,
                                const TokenHistory& history);
  void Filter(std::span<const float> logits, const SamplingParams& params);  // steps 5 to 8: candidates_
  void KeepTopK(std::span<const float> logits, const SamplingParams& params);
  void Soften(std::span<const float> logits, float temperature);
  void KeepTopP(float top_p);
  void KeepMinP(float min_p);
  TokenId Pick(double uniform) const;
  std::span<const TokenLogprob> Top(std::span<const float> logits, float log_sum, int count);

  const KernelSet& kernels_;
  std::vector<float> adjusted_;        // [vocab_size] logits after penalties and bias
  std::vector<float> probabilities_;   // [vocab_size]
  std::vector<int32_t> selected_;      // [vocab_size] ids that top-k kept, ascending
  std::vector<Candidate> candidates_;  // at most [vocab_size]
  std::vector<TokenId> kept_;          // of Kept
  int64_t num_selected_ = 0;
  std::array<TokenLogprob, kMaxTopLogprobs> top_;
};

}  // namespace minke
