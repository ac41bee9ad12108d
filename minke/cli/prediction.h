// How fast a model will read and write on this machine, before it runs: the counts of a step (minke/model/work.h), each
// at the rate at which its kernel was timed here (kernel_timer.h). `minke bench` measures the same points;
// bench/prediction.py compares. One sequence, sparse attention where the model has it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/base/thread_pool.h"
#include "minke/cli/bench_plan.h"
#include "minke/cli/flag_set.h"
#include "minke/cli/model_flags.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/model.h"

namespace minke {

inline constexpr int64_t kPredictedPrompt = 512, kPredictedAnswer = 32;  // tokens, as minke bench has them

// What both verbs that predict let people choose.
struct PredictionFlags {
  std::vector<int64_t> depths;  // empty: 0, 4096, 16384 and 65536
  CacheFlags cache;
};
void AddPredictionFlags(FlagSet verb, PredictionFlags& flags);

// Of one step: a prompt of kPredictedPrompt tokens behind `depth` positions, or one token amid kPredictedAnswer.
struct SpeedPrediction {
  Phase phase = Phase::kPrefill;
  int64_t depth = 0;
  int64_t tokens = 1;
  double products_s = 0, selection_s = 0, attention_s = 0, rows_s = 0;

  double seconds() const { return products_s + selection_s + attention_s + rows_s; }
  double tokens_per_s() const { return static_cast<double>(tokens) / seconds(); }
};

struct SpeedReport {
  std::string kernels;
  CacheFormats cache;
  int threads = 0;
  std::vector<SpeedPrediction> rows;
  std::vector<BenchSkip> skipped;  // what does not fit the model or the memory
};

// Takes a second or two. Errors: kNoMemory.
Result<SpeedReport> PredictSpeed(const Model& model, const KernelSet& kernels, ThreadPool& pool,
                                 const PredictionFlags& flags);
Json SpeedJson(const SpeedReport& report);
std::string SpeedText(const SpeedReport& report);

}  // namespace minke
