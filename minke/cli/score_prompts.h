// The prompts of `minke score --ids FILE`: I64 tensors `input_ids`, or `input_ids.0`, `input_ids.1`, ...
#pragma once

#include <string>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/token_id.h"

namespace minke {

struct ScorePrompt {
  std::string suffix;  // "" or ".0"; results carry it too
  std::vector<TokenId> ids;
};

// Errors: kNotFound and kDamaged of the file; kInvalidArgument for a missing tensor, another type or rank, an empty
// prompt, an id outside [0, vocab_size), each with its tensor and place.
Result<std::vector<ScorePrompt>> ReadScorePrompts(const std::string& path, int64_t vocab_size);

}  // namespace minke
