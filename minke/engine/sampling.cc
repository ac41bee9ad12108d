#include "minke/engine/sampling.h"

#include <string_view>

namespace minke {
namespace {

// Written so that NaN fails.
Status InRange(std::string_view field, float value, float least, float most) {
  if (value >= least && value <= most) return {};
  return Fail(Code::kInvalidArgument, "{} is {}, allowed is {} to {}", field, value, least, most);
}

Status AtMost(std::string_view field, size_t count, size_t most) {
  if (count <= most) return {};
  return Fail(Code::kInvalidArgument, "{} has {} entries, at most {} are allowed", field, count, most);
}

Status InVocab(std::string_view field, TokenId token, int64_t vocab_size) {
  if (token >= 0 && token < vocab_size) return {};
  return Fail(Code::kInvalidArgument, "{} names token {}, the vocabulary has {}", field, token, vocab_size);
}

}  // namespace

Status Validate(const SamplingParams& params, int64_t vocab_size) {
  MINKE_TRY(InRange("temperature", params.temperature, 0, kMaxTemperature));
  MINKE_TRY(InRange("top_p", params.top_p, 0, 1));
  if (params.top_p == 0) return Fail(Code::kInvalidArgument, "top_p is 0, it must be above 0 and at most 1");
  MINKE_TRY(InRange("min_p", params.min_p, 0, 1));
  if (params.min_p == 1) return Fail(Code::kInvalidArgument, "min_p is 1, it must be below 1");
  if (params.top_k < 0 || params.top_k > vocab_size) {
    return Fail(Code::kInvalidArgument, "top_k is {}, allowed is 0 (all) to {}, the vocabulary", params.top_k,
                vocab_size);
  }
  MINKE_TRY(InRange("repetition_penalty", params.repetition_penalty, kMinRepetitionPenalty, kMaxRepetitionPenalty));
  MINKE_TRY(InRange("presence_penalty", params.presence_penalty, -kMaxPenalty, kMaxPenalty));
  MINKE_TRY(InRange("frequency_penalty", params.frequency_penalty, -kMaxPenalty, kMaxPenalty));
  if (params.max_tokens < 1) {
    return Fail(Code::kInvalidArgument, "max_tokens is {}, it must be at least 1", params.max_tokens);
  }

  MINKE_TRY(AtMost("logit_bias", params.logit_bias.size(), kMaxLogitBias));
  for (const LogitBias& entry : params.logit_bias) {
    MINKE_TRY(InVocab("logit_bias", entry.token, vocab_size));
    MINKE_TRY(InRange("logit_bias", entry.bias, -kMaxBias, kMaxBias));
  }
  MINKE_TRY(AtMost("stop_token_ids", params.stop_token_ids.size(), kMaxStopTokens));
  for (TokenId token : params.stop_token_ids) MINKE_TRY(InVocab("stop_token_ids", token, vocab_size));
  MINKE_TRY(AtMost("stop", params.stop.size(), kMaxStopStrings));
  for (const std::string& text : params.stop) {
    if (text.empty() || text.size() > kMaxStopBytes) {
      return Fail(Code::kInvalidArgument, "a stop string has {} bytes, allowed is 1 to {}", text.size(), kMaxStopBytes);
    }
  }
  if (params.stop_after.size() > kMaxStopBytes) {
    return Fail(Code::kInvalidArgument, "stop_after has {} bytes, at most {} are allowed", params.stop_after.size(),
                kMaxStopBytes);
  }
  if (params.top_logprobs < 0 || params.top_logprobs > kMaxTopLogprobs) {
    return Fail(Code::kInvalidArgument, "top_logprobs is {}, allowed is 0 to {}", params.top_logprobs, kMaxTopLogprobs);
  }
  if (params.top_logprobs > 0 && !params.logprobs) {
    return Fail(Code::kInvalidArgument, "top_logprobs is {} but logprobs is off", params.top_logprobs);
  }
  return {};
}

}  // namespace minke
