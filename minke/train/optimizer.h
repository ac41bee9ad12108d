// AdamW with decoupled decay on matrices only, and the router's bias (docs/training.md: optimiser). The indexers are a
// group of their own, with their own learning rate and their own clip: they learn from another loss.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "minke/base/thread_pool.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/parameters.h"
#include "minke/tensor/view.h"

namespace minke {

struct AdamWOptions {
  float beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f;
  float weight_decay = 0.1f;
  float clip = 1.0f;  // largest norm of a group's gradient
};

class AdamW {
 public:
  AdamW(Parameters& parameters, const KernelSet& kernels, ThreadPool& pool, const AdamWOptions& options);

  // Learning rates of one step; a group without one is left as it is, and so is the MTP layer, its indexer included,
  // in steps that do not train it: nothing would hold its weights against their decay.
  struct Rates {
    std::optional<double> model, indexer;
    bool mtp = true;
  };
  struct Norms {
    double model = 0, indexer = 0;  // of the gradient, before the clip
  };
  // Norms of the groups' gradients. Not finite: see finite.h.
  Norms NormsOf(std::span<const float> gradients) const;
  // Changes the parameters and publishes them.
  void Update(std::span<const float> gradients, const Norms& norms, const Rates& rates);

  // The state, for checkpoints: moments in the layout of Parameters::values, and steps done.
  std::span<float> mean() { return mean_; }
  std::span<float> square() { return square_; }
  struct Steps {
    int64_t model = 0, indexer = 0;
  };
  Steps steps;

 private:
  Parameters& parameters_;
  const KernelSet& kernels_;
  ThreadPool& pool_;
  const AdamWOptions options_;
  std::vector<float> mean_, square_;
};

// e_score_correction_bias of every layer += speed * sign(mean load - load), for loads counted over the step's tokens
// [layers, n_routed_experts] (V3 report 2.1.2). Publishes.
void UpdateRouterBias(Parameters& parameters, TensorView<const int64_t, 2> loads, float speed);

}  // namespace minke
