#include "minke/train/loss.h"

#include <algorithm>

#include "minke/base/check.h"

namespace minke {

std::vector<TokenId> NextTokens(std::span<const std::span<const TokenId>> prompts, int64_t ahead, bool mtp_rows) {
  std::vector<TokenId> targets;
  for (const std::span<const TokenId> prompt : prompts) {
    const int64_t count = std::ssize(prompt), rows = mtp_rows ? count - 1 : count;
    for (int64_t i = 0; i < rows; ++i)
      targets.push_back(i + ahead < count ? prompt[static_cast<size_t>(i + ahead)] : kNoTarget);
  }
  return targets;
}

double CrossEntropy(const KernelSet& kernels, ThreadPool& pool, TensorView<float, 2> logits,
                    std::span<const TokenId> targets, std::span<const float> weights) {
  const int64_t rows = logits.dim(0), vocab = logits.dim(1);
  MINKE_CHECK(std::ssize(targets) == rows && std::ssize(weights) == rows);
  std::vector<double> losses(static_cast<size_t>(rows));
  pool.ForRanges(rows, std::max<int64_t>(1, (1 << 12) / vocab), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const auto at = static_cast<size_t>(r);
      if (targets[at] == kNoTarget || weights[at] == 0) {
        std::ranges::fill(logits[r], 0.0f);
        continue;
      }
      const float logprob = kernels.cross_entropy_grad(logits[r].data(), vocab, targets[at], weights[at]);
      losses[at] = -static_cast<double>(weights[at]) * static_cast<double>(logprob);
    }
  });
  double sum = 0;
  for (const double loss : losses) sum += loss;
  return sum;
}

}  // namespace minke
