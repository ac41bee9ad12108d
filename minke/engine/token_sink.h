// What comes back from the engine for one request: tokens, then exactly one ending; and what the caller may say to a
// token while the request goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "minke/base/result.h"
#include "minke/base/token_id.h"
#include "minke/engine/sampler.h"
#include "minke/model/expert_stats.h"

namespace minke {

using RequestId = uint64_t;  // ascending in order of arrival

enum class FinishReason {
  kStop,       // a stop string, a stop token or the caller's word (Following::end)
  kEos,        // the model's own end token
  kLength,     // max_tokens
  kCancelled,  // by Cancel or by the end of the engine
  kFailed,     // see Ending::error
};

struct TokenEvent {
  RequestId request = 0;
  int64_t index = 0;  // of this output token, from 0; given tokens (Following) count
  TokenId token = 0;
  std::string_view text;              // bytes that may be shown now; may lag behind the token, may cut a character
  float logprob = 0;                  // if asked for; of the model's own distribution (sampler.h)
  std::span<const TokenLogprob> top;  // if asked for; most likely first
  std::optional<FinishReason> ends;   // why this token is the last: kStop, kLength, or kEos unless others follow it
};

// What the caller lets follow a sampled token: a forced end of thinking, a tool's result, the next turn. Given tokens
// are output as if the model had written them - they run, they count for max_tokens and TokenEvent::index - but they
// are not sampled, have no event and no text, do not end the request, and penalties take them for prompt. No stop
// string reaches into them or across, but SamplingParams::stop_after is found in them. The answer is that of a second
// request whose prompt has all so far, but for the number of its draws (sampler.h).
struct Following {
  // Valid until the next call. Where they reach max_tokens, those that fit are taken and the request ends as kLength;
  // an id outside the vocabulary ends it as kFailed.
  std::span<const TokenId> tokens = {};
  bool end = false;  // the request ends after the sampled token: kStop, or kEos where it was the model's end
};

struct RequestStats {
  int64_t prompt_tokens = 0, generated_tokens = 0;
  int64_t given_tokens = 0;                 // by TokenSink::follow; not among the generated
  double queue_s = 0;                       // accepted -> first step
  double prefill_s = 0;                     // first step -> first token
  double decode_s = 0;                      // first token -> end
  int64_t drafts = 0, accepted_drafts = 0;  // by speculative decoding: guessed tokens that ran, those that were right
  // Summed over every token that ran and every layer with attention; wrong drafts and the MTP layer do not count, so
  // the numbers are the same with and without drafts.
  int64_t queries = 0, selected_keys = 0, visible_keys = 0;
  ExpertStats experts;  // of all steps from the first to the last of this request; zeros when all weights are in memory
};

struct Ending {
  RequestId request = 0;
  FinishReason reason = FinishReason::kFailed;
  Error error;                        // if kFailed
  std::string_view text;              // was held back for a stop string that did not come
  const std::string* stop = nullptr;  // the stop string that was found
  uint64_t seed = 0;                  // that the draws used
  RequestStats stats;
};

// Called from the engine's worker, so each call must return soon: hand over to a queue, do not write to a socket.
// Calls may use the engine (Submit, Cancel, stats) but not destroy it, and must not throw. Views and spans are
// valid during the call. An empty function is skipped.
struct TokenSink {
  std::function<void(const TokenEvent&)> on_token;
  // After on_token. With kEos in `ends`, tokens make the request go on; with kStop or kLength the result means nothing.
  std::function<Following(const TokenEvent&)> follow;
  std::function<void(const Ending&)> on_end;
  std::function<void(int64_t done, int64_t total)> on_prefill;  // prompt tokens, after each chunk
};

}  // namespace minke
