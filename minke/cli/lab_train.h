// Trainings of the experiment: what minke train and minke rl do, with their metrics as a result.
#pragma once

#include <string>
#include <vector>

#include "minke/base/json.h"
#include "minke/base/result.h"
#include "minke/cli/lab_jobs.h"
#include "minke/train/rl_config.h"
#include "minke/train/train_config.h"

namespace minke {

// Both write work.folder/run with its model, and go on where an earlier attempt stopped. Errors: kCancelled after a
// signal.
// {"steps", "tokens", "cpu_seconds", "loss": of the last tenth of the steps}
Result<Json> LabTrain(TrainConfig config, const std::string& isa, bool quiet, const std::string& name,
                      const LabWork& work);
// {"steps", "cpu_seconds", "on_policy_max_abs_diff", "curve": {"accuracy", "think_tokens", "cpu_seconds": so far}}
Result<Json> LabReinforce(RlConfig config, const std::string& isa, bool quiet, const std::string& name,
                          const LabWork& work);

// Removes the checkpoints of a finished run, but for its model.
void LabDropCheckpoints(const LabWork& work);

}  // namespace minke
