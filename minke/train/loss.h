// Losses on logits: the gradient takes the logits' place.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "minke/base/thread_pool.h"
#include "minke/base/token_id.h"
#include "minke/kernels/kernel_set.h"
#include "minke/tensor/view.h"

namespace minke {

inline constexpr TokenId kNoTarget = -1;

// Of every row: the token to predict, or kNoTarget. Each prompt predicts its tokens `ahead` positions on.
std::vector<TokenId> NextTokens(std::span<const std::span<const TokenId>> prompts, int64_t ahead, bool mtp_rows);

// sum over rows of weights[row] * -log softmax(logits[row])[targets[row]]; logits become its gradient, zeros for rows
// without a target. weights [rows].
double CrossEntropy(const KernelSet& kernels, ThreadPool& pool, TensorView<float, 2> logits,
                    std::span<const TokenId> targets, std::span<const float> weights);

}  // namespace minke
