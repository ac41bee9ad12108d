// Perplexity of a text file under the protocol of tests/data/nano-hf/README.md: the whole file is encoded with its
// markers and without a begin marker, cut into windows, each window runs alone from position 0 and its first token is
// not scored. Windows that overlap score a token once, in the first window that has it.
#pragma once

#include <cmath>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "minke/base/thread_pool.h"
#include "minke/cli/model_flags.h"
#include "minke/cli/score_run.h"
#include "minke/cli/terminal.h"

namespace minke {

struct Perplexity {
  int64_t tokens = 0, scored = 0;
  double nll_sum = 0, nll_squares = 0, seconds = 0;
  double mean_nll() const { return scored > 0 ? nll_sum / static_cast<double>(scored) : 0; }
  double value() const { return std::exp(mean_nll()); }
  double error() const;  // standard error of value(), as if tokens were independent
};

struct TextWindows {
  int64_t window = 384;  // tokens
  int64_t stride = 0;    // from one window to the next; 0: the window
};

// Receives the logits that predict a scored token, in the text's order of windows.
using ScoredRowFn = std::function<Status(std::span<const float> logits)>;

// Token ids of the file at `path`. Errors: kNotFound for a missing file or tokenizer, kInvalidArgument for a text of
// fewer than two tokens, kDamaged for an id that the model does not have.
Result<std::vector<TokenId>> EncodeText(const OpenedModel& opened, const std::string& path);

// Errors: kInvalidArgument for a window past the model's context.
Result<Perplexity> MeasurePerplexity(const OpenedModel& opened, const KernelSet& kernels, ThreadPool& pool,
                                     std::span<const TokenId> ids, const TextWindows& cut,
                                     const ScoreRunOptions& options, Progress& progress, const ScoredRowFn& row = {});

}  // namespace minke
