// Runs the stages of a configuration: data in, weights out, a checkpoint now and then. A run that was interrupted goes
// on from its last checkpoint and ends with the same bytes; so does one on another number of threads.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "minke/base/thread_pool.h"
#include "minke/model/checkpoint_writer.h"
#include "minke/model/parameters.h"
#include "minke/train/document.h"
#include "minke/train/train_config.h"

namespace minke {

struct StepReport {
  const StageConfig* stage = nullptr;
  int64_t step = 0, total_steps = 0;  // of the run, from 1
  int64_t tokens = 0;                 // of the step
  double loss = 0, mtp_loss = 0;      // means over targets; NaN where the stage has none
  double indexer_kl = 0;              // mean over rows and layers
  double balance = 0;                 // mean over layers
  double norm = 0, indexer_norm = 0;  // of the gradients, before the clip
  double lr = 0;
  DataCounts data = {};         // of the stage so far
  double expert_imbalance = 0;  // largest load of an expert over the mean, worst layer
  double seconds = 0;
  double cpu_seconds = 0;  // of the whole process
};

struct TrainHooks {
  std::function<void(const StepReport&)> on_step;
  std::function<bool()> should_stop;  // asked after each step; then a checkpoint is written and the run ends
  std::function<void(const std::string&)> on_warning;  // a line about a run that goes on otherwise than it began
};

struct TrainResult {
  bool finished = false;   // all steps done; OUT/model is there
  int64_t resumed_at = 0;  // steps that an earlier run had done
  int64_t steps = 0;
};

// Trains `parameters`, which already hold the weights to start from. Writes config.out: step-N (checkpoint.h),
// metrics.jsonl, and in the end model. Errors: those of the data and files; kFailed with the tensor's name for a loss
// or gradient that is not finite, with the last checkpoint as it was; kCannotResume for another configuration,
// tokenizer or data.
Result<TrainResult> Train(const TrainConfig& config, Parameters& parameters, const ModelFiles& files,
                          const DocumentEncoder& encoder, const KernelSet& kernels, ThreadPool& pool,
                          const TrainHooks& hooks);

}  // namespace minke
