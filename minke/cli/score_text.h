// Perplexity of a text file under the protocol of models/nano/README.md: the whole file is encoded with its markers and
// without a begin marker, cut into windows, each window runs alone from position 0 and its first token is not scored.
#pragma once

#include <cmath>
#include <string>

#include "minke/base/thread_pool.h"
#include "minke/cli/model_flags.h"
#include "minke/cli/score_run.h"
#include "minke/cli/terminal.h"

namespace minke {

struct Perplexity {
  int64_t tokens = 0, scored = 0;
  double nll_sum = 0, seconds = 0;
  double mean_nll() const { return scored > 0 ? nll_sum / static_cast<double>(scored) : 0; }
  double value() const { return std::exp(mean_nll()); }
};

// Errors: kNotFound for a missing file or tokenizer, kInvalidArgument for a text of fewer than two tokens or a window
// past the model's context.
Result<Perplexity> MeasurePerplexity(const OpenedModel& opened, const KernelSet& kernels, ThreadPool& pool,
                                     const std::string& path, int64_t window, const ScoreRunOptions& options,
                                     Progress& progress);

}  // namespace minke
