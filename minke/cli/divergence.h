// How far one model's next-token distributions are from another's, row by row: KL(base || model) and whether both have
// the same most likely token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "minke/kernels/kernel_set.h"

namespace minke {

class Divergence {
 public:
  // Both rows are logits over the same vocabulary.
  void Add(std::span<const float> base, std::span<const float> logits, const KernelSet& kernels);

  int64_t rows() const { return static_cast<int64_t>(kl_.size()); }
  double mean() const;                  // nats
  double error() const;                 // standard error of the mean
  double quantile(double share) const;  // of the rows, 0 .. 1
  double same_top() const { return kl_.empty() ? 0 : static_cast<double>(same_top_) / static_cast<double>(kl_.size()); }

 private:
  std::vector<double> kl_;
  int64_t same_top_ = 0;
};

}  // namespace minke
