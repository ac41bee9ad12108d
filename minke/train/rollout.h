// One sampled answer as training and evaluation need it: a thinking budget with a forced end, an environment that
// answers while the model writes, and which tokens the policy chose. Many at once through the engine's batches.
//
// A rollout is one request of the engine, in which what is appended (the forced </think>, an environment's text)
// follows as given tokens (engine/token_sink.h). Rows do not depend on chunks or neighbours, so this gives what one
// pass over all tokens would give, and draw i is that of the i-th token after the prompt: a rollout is a pure function
// of (weights, prompt, environment, seed, stream). Penalties take appended tokens for prompt. The engine needs
// EngineOptions::token_bytes.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "minke/base/result.h"
#include "minke/engine/engine.h"
#include "minke/text/tokenizer.h"
#include "minke/train/task.h"

namespace minke {

struct RolloutRequest {
  std::vector<TokenId> prompt;
  bool thinking = true;       // the prompt opened the thinking
  SamplingParams params;      // `max_tokens`: of all after the prompt, appended tokens too (the last
                              // of those may go beyond it); no stop strings
  int64_t think_budget = 0;   // thinking tokens, appended ones too, after which </think> is forced; 0: none
  int64_t answer_tokens = 0;  // most tokens after each </think>; 0: what max_tokens leaves
  std::unique_ptr<Environment> environment;  // or null
};

struct Rollout {
  std::vector<TokenId> tokens;     // all after the prompt, the end token included
  std::vector<uint8_t> chosen;     // [tokens] 1: by the policy; 0: appended, no action and no loss
  std::vector<float> logprobs;     // [tokens] of the model's own distribution if params.logprobs; 0 where not chosen
  std::string text;                // without the end token
  std::string reasoning, content;  // SplitAnswer
  int64_t think_tokens = 0;        // before </think>, that token not counted; over all turns
  bool forced = false;             // a budget closed the thinking
  bool ended = false;              // the model wrote its end token; else a limit cut it
  int64_t num_chosen() const;
};

// In the order of `requests`, whose environments are used up. `progress` is called from this thread after each. Blocks.
// Errors: those of Engine::Submit and of an ending, with nothing left running; kUnsupported where a budget is asked and
// the tokenizer has no </think>.
Result<std::vector<Rollout>> RunRollouts(Engine& engine, const Tokenizer& tokenizer,
                                         std::span<const RolloutRequest> requests,
                                         const std::function<void(size_t done)>& progress = {});

}  // namespace minke
