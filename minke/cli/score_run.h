// One pass over several prompts as one batch: whole, in chunks, or token by token.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/thread_pool.h"
#include "minke/base/token_id.h"
#include "minke/cli/score_record.h"
#include "minke/engine/page_pool.h"
#include "minke/model/forward.h"

namespace minke {

struct ScoreRunOptions {
  int64_t chunk = 0;  // tokens of each prompt in one step; 0: as many as one batch takes
  Attention attention = Attention::kDsa;
  MlaForm mla_form = MlaForm::kAbsorbed;
  CacheFormats cache = {};
  bool taps = false;  // also intermediates, and the MTP layer's logits when the model has one
};

// Called after every step with that step's logits, one row a token, valid during the call.
using StepFn = std::function<Status(std::span<const RecordRows> rows, TensorView<const float, 2> logits)>;

class ScoreRunner {
 public:
  // Sized for `prompts`; errors: kInvalidArgument for one longer than the model's context, kNoMemory.
  static Result<std::unique_ptr<ScoreRunner>> Create(const Model& model, const KernelSet& kernels, ThreadPool& pool,
                                                     std::span<const int64_t> lengths, const ScoreRunOptions& options);

  // `record` may be null without taps. Errors: those of `step`, kDamaged once a mapped file fails.
  Status Run(std::span<const std::span<const TokenId>> prompts, ScoreRecord* record, const StepFn& step);

 private:
  ScoreRunner(const Model& model, const ScoreRunOptions& options, int64_t chunk)
      : model_(model), options_(options), chunk_(chunk) {}
  void RunMtp(std::span<const std::span<const TokenId>> prompts, std::span<const RecordRows> rows,
              std::span<const PageTable> tables, ScoreRecord& record);

  const Model& model_;
  const ScoreRunOptions options_;
  const int64_t chunk_;
  std::unique_ptr<PagePool> pages_;
  std::unique_ptr<Forward> forward_;
};

}  // namespace minke
