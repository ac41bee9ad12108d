#include "minke/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace minke {
namespace {

// YaRN's m(s).
double Mscale(double factor, double s) { return factor <= 1 ? 1 : 0.1 * s * std::log(factor) + 1; }

}  // namespace

// All in F32, step by step as the reference rounds: one unit of the last place in a frequency is 0.008 rad at
// position 131071.
Rope::Rope(const ModelConfig& config) {
  const int64_t dim = config.qk_rope_head_dim;
  const double theta = config.rope_theta;
  std::vector<float> period(static_cast<size_t>(dim / 2));  // theta^(2j / dim)
  inv_freq_.resize(period.size());
  for (size_t j = 0; j < period.size(); ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(dim);
    period[j] = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    inv_freq_[j] = 1.0f / period[j];
  }
  if (!config.yarn) return;

  const YarnScaling& yarn = *config.yarn;
  // The pair that turns `rotations` times within the original context.
  const auto correction_dim = [&](double rotations) {
    return static_cast<double>(dim) *
           std::log(yarn.original_max_position_embeddings / (2 * std::numbers::pi * rotations)) / (2 * std::log(theta));
  };
  const double low = std::max(std::floor(correction_dim(yarn.beta_fast)), 0.0);
  double high = std::min(std::ceil(correction_dim(yarn.beta_slow)), static_cast<double>(dim - 1));
  if (high == low) high += 0.001;
  const float low_pair = static_cast<float>(low), width = static_cast<float>(high - low);
  for (size_t j = 0; j < period.size(); ++j) {
    const float ramp = std::clamp((static_cast<float>(j) - low_pair) / width, 0.0f, 1.0f);
    const float keep = 1.0f - ramp;
    const float interpolated = 1.0f / (static_cast<float>(yarn.factor) * period[j]);
    inv_freq_[j] = interpolated * (1.0f - keep) + inv_freq_[j] * keep;
  }
  if (yarn.attention_factor) {
    attention_factor_ = *yarn.attention_factor;
  } else if (yarn.mscale != 0 && yarn.mscale_all_dim != 0) {
    attention_factor_ = Mscale(yarn.factor, yarn.mscale) / Mscale(yarn.factor, yarn.mscale_all_dim);
  } else {
    attention_factor_ = Mscale(yarn.factor, 1);
  }
}

void Rope::CosSin(int64_t pos, std::span<float> cos, std::span<float> sin) const {
  for (size_t j = 0; j < inv_freq_.size(); ++j) {
    const float angle = static_cast<float>(pos) * inv_freq_[j];
    cos[j] = static_cast<float>(std::cos(static_cast<double>(angle)) * attention_factor_);
    sin[j] = static_cast<float>(std::sin(static_cast<double>(angle)) * attention_factor_);
  }
}

float SoftmaxScale(const ModelConfig& config) {
  double scale = 1 / std::sqrt(static_cast<double>(config.qk_head_dim()));
  if (config.yarn && config.yarn->mscale_all_dim != 0) {
    const double m = Mscale(config.yarn->factor, config.yarn->mscale_all_dim);
    scale *= m * m;
  }
  return static_cast<float>(scale);
}

}  // namespace minke
