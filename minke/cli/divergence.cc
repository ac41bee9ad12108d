#include "minke/cli/divergence.h"

#include <algorithm>
#include <cmath>

namespace minke {

void Divergence::Add(std::span<const float> base, std::span<const float> logits, const KernelSet& kernels) {
  const auto n = static_cast<int64_t>(base.size());
  const double base_norm = kernels.log_sum_exp(base.data(), n), norm = kernels.log_sum_exp(logits.data(), n);
  double kl = 0;
  for (size_t i = 0; i < base.size(); ++i) {
    const double log_p = base[i] - base_norm, log_q = logits[i] - norm;
    kl += std::exp(log_p) * (log_p - log_q);
  }
  kl_.push_back(kl);
  same_top_ += kernels.argmax(base.data(), n) == kernels.argmax(logits.data(), n);
}

double Divergence::mean() const {
  double sum = 0;
  for (const double kl : kl_) sum += kl;
  return kl_.empty() ? 0 : sum / static_cast<double>(kl_.size());
}

double Divergence::error() const {
  if (kl_.size() < 2) return 0;
  const double n = static_cast<double>(kl_.size()), average = mean();
  double squares = 0;
  for (const double kl : kl_) squares += (kl - average) * (kl - average);
  return std::sqrt(squares / (n - 1) / n);
}

double Divergence::quantile(double share) const {
  if (kl_.empty()) return 0;
  std::vector<double> sorted = kl_;
  std::ranges::sort(sorted);
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
}

}  // namespace minke
