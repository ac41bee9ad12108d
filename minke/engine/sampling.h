// How a request wants its tokens chosen and when it wants to stop. Plain data: callers fill it, the engine
// validates it once, the sampler and the stop matcher read it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/token_id.h"

namespace minke {

// What a request may ask for, here and nowhere else: Validate and the command line's flags read it.
inline constexpr float kMaxTemperature = 2, kMaxPenalty = 2, kMaxBias = 100;
inline constexpr float kMinRepetitionPenalty = 0.01f, kMaxRepetitionPenalty = 10;
inline constexpr int kMaxTopLogprobs = 20;
inline constexpr size_t kMaxStopStrings = 16, kMaxStopBytes = 256;
inline constexpr size_t kMaxStopTokens = 256, kMaxLogitBias = 1024;

struct LogitBias {
  TokenId token = 0;
  float bias = 0;  // -100..100
};

struct SamplingParams {
  float temperature = 1;                              // 0..2; 0: the most likely token, lowest id on ties
  int64_t top_k = 0;                                  // 0..vocabulary; 0: all
  float top_p = 1;                                    // (0, 1]; 1: all
  float min_p = 0;                                    // [0, 1): least probability, relative to the most likely token's
  float repetition_penalty = 1;                       // 0.01..10; over prompt and output
  float presence_penalty = 0, frequency_penalty = 0;  // -2..2; over the output
  std::vector<LogitBias> logit_bias = {};

  // Draw i of a request is a pure function of (seed, stream, i). No seed: the engine picks one and says it.
  std::optional<uint64_t> seed = {};
  uint64_t stream = 0;  // tells several answers to one prompt apart

  int64_t max_tokens = 256;                  // of all after the prompt, given ones (token_sink.h) too
  std::vector<std::string> stop = {};        // matched on bytes, across token borders; not part of the answer
  std::string stop_after = {};               // only after this text: the end of thinking; empty: everywhere
  std::vector<TokenId> stop_token_ids = {};  // reported as a token, without text
  bool ignore_eos = false;

  bool logprobs = false;  // of the chosen token, from the model's own logits (sampler.h)
  int top_logprobs = 0;   // with logprobs: also the N most likely tokens

  bool has_penalties() const { return repetition_penalty != 1 || presence_penalty != 0 || frequency_penalty != 0; }
};

// kInvalidArgument with the field, what was found and what is allowed.
Status Validate(const SamplingParams& params, int64_t vocab_size);

}  // namespace minke
