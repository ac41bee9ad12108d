// Which experts a token goes to, and with what weight (docs/model.md: router).
#pragma once

#include <cstdint>
#include <span>

#include "minke/kernels/kernel_set.h"
#include "minke/model/config.h"

namespace minke {

// `scores` [n_routed_experts] holds x . gate^T on entry and is overwritten. `bias` is e_score_correction_bias
// for noaux_tc, else empty. `scratch` [n_routed_experts]. Writes the chosen experts, ascending, and their
// final weights, both [num_experts_per_tok]. Ties go to the lower index; NaN is never preferred.
void Route(const ModelConfig& config, const KernelSet& kernels, std::span<float> scores, std::span<const float> bias,
           std::span<float> scratch, std::span<int32_t> experts, std::span<float> weights);

// Its parts: scores of x . gate^T in place, and the weights of experts that were chosen elsewhere.
void ScoreExperts(const ModelConfig& config, const KernelSet& kernels, std::span<float> scores);
void WeighExperts(const ModelConfig& config, std::span<const float> scores, std::span<const int32_t> experts,
                  std::span<float> weights);

}  // namespace minke
