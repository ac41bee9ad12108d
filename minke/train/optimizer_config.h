// [optimizer] of a training configuration: the same keys for minke train and minke rl (docs/training.md).
#pragma once

#include "minke/train/config_file.h"
#include "minke/train/optimizer.h"

namespace minke {

// Keys that are absent leave `options` as it is. A beta of 1, or an eps of 0, would divide by zero.
void ReadOptimizer(ConfigSection section, AdamWOptions& options);

}  // namespace minke
