// One accepted request between Submit and its ending. Made by the caller's thread, then the worker's alone.
#pragma once

#include <chrono>
#include <vector>

#include "minke/engine/sampling.h"
#include "minke/engine/stop_matcher.h"
#include "minke/engine/token_history.h"
#include "minke/engine/token_sink.h"

namespace minke {

struct Request {
  using Clock = std::chrono::steady_clock;

  RequestId id = 0;
  std::vector<TokenId> tokens;  // prompt, then output, given tokens too; room for all of them from the start
  int64_t prompt_tokens = 0;
  SamplingParams params;
  TokenSink sink;
  std::vector<TokenId> drafts;  // guesses of the tokens that come next
  uint64_t seed = 0;
  TokenHistory history;
  StopMatcher stop;
  RequestStats stats;
  ExpertStats experts_before;                        // when it started
  Clock::time_point accepted, started, first_token;  // the epoch: not yet
  int64_t generated() const { return static_cast<int64_t>(tokens.size()) - prompt_tokens; }
};

}  // namespace minke
