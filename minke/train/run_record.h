// What a run ran with beside its configuration, recorded in each checkpoint (training.json, below "state": "runs"): one
// entry for each process that did it otherwise than the one before. Weights depend on the tokenizer and on the kernel
// set, and not on the number of threads.
#pragma once

#include <cstdint>
#include <string>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/checkpoint_writer.h"

namespace minke {

struct RunRecord {
  std::string tokenizer;  // hash of tokenizer.json, tokenizer_config.json and chat_template.jinja; 16 digits
  std::string kernels;    // name of the set
  std::string dtype = "f32";
  int threads = 0;

  // Errors: those of reading the tokenizer's files, but for files that are not there.
  static Result<RunRecord> Of(const ModelFiles& files, const KernelSet& kernels, int threads);
};

// The list of a run that goes on from `step` as `now`: `runs` (an array, or null in checkpoints from before there was
// one) with what is new. `warning`: what the user should know, in one line, or "". Errors: kCannotResume for another
// tokenizer, kDamaged for no such list; both name `folder`.
struct ResumedRuns {
  Json runs;
  std::string warning;
};
Result<ResumedRuns> ResumeRuns(Json runs, const RunRecord& now, int64_t step, const std::string& folder);

}  // namespace minke
