#include "minke/train/optimizer_config.h"

namespace minke {

void ReadOptimizer(ConfigSection section, AdamWOptions& options) {
  section.Number("beta1", options.beta1, 0, 0.999999);
  section.Number("beta2", options.beta2, 0, 0.999999);
  section.Number("eps", options.eps, 1e-30, 1);
  section.Number("weight_decay", options.weight_decay, 0, 10);
  section.Number("clip", options.clip, 1e-9, 1e30);
}

}  // namespace minke
