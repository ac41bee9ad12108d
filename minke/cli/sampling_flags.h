// The flags of run and chat that say how tokens are chosen.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "minke/cli/flag_set.h"
#include "minke/engine/sampling.h"

namespace minke {

struct SamplingFlags {
  // Not given: what the model's generation_config.json recommends, else temperature 0.6 and
  // the defaults of SamplingParams.
  std::optional<float> temperature, top_p;
  std::optional<int64_t> top_k;
  float min_p = 0, repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop, logit_bias;  // bias: ID=NUMBER
  bool stop_in_thinking = false;
  int64_t max_tokens = 0;  // 0: 4096 without thinking, 32768 with, or what is left
};

void AddSamplingFlags(FlagSet verb, SamplingFlags& flags);

// The double that JSON writes as the float was given: 0.6 for 0.6f, where a plain conversion gives 0.6000000238418579.
double AsGiven(float number);

// `folder` may hold generation_config.json. Errors: kInvalidArgument for a bias that is not ID=NUMBER, kDamaged for a
// generation_config.json that is not one or recommends what is not allowed.
Result<SamplingParams> MakeSamplingParams(const SamplingFlags& flags, const std::string& folder, int64_t vocab_size);

// The answer's limit for a prompt of `prompt_tokens`: what was asked for, else the default or what is left if that is
// less. `most` is Engine::MostTokens; where it is less than the limit, the cache is too small and Submit has the
// numbers. kInvalidArgument, with the three numbers, when the context is too short.
Result<int64_t> AnswerLimit(const SamplingFlags& flags, bool thinking, int64_t prompt_tokens, int64_t context,
                            int64_t most);

}  // namespace minke
