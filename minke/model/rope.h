// Rotary position embedding: frequencies with YaRN, cos and sin of one position (docs/model.md: RoPE).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "minke/model/config.h"

namespace minke {

class Rope {
 public:
  explicit Rope(const ModelConfig& config);

  std::span<const float> inv_freq() const { return inv_freq_; }  // [qk_rope_head_dim / 2]
  // cos and sin [qk_rope_head_dim / 2] of position * inv_freq. The product is rounded to F32 first, as the
  // reference does; in F64 the angle at position 131071 would differ by 0.004.
  void CosSin(int64_t pos, std::span<float> cos, std::span<float> sin) const;

 private:
  std::vector<float> inv_freq_;
  double attention_factor_ = 1;
};

// (dn + dr)^(-1/2), times m(mscale_all_dim)^2 under YaRN. The indexer's own scale has no mscale.
float SoftmaxScale(const ModelConfig& config);

}  // namespace minke
