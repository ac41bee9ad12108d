// The narrow strip between engine and model: the engine owns pages, the model reads and writes rows.
// A page holds, for kPageTokens consecutive positions of one sequence, every layer's rows:
//   latents    [layers][kPageTokens][kv_lora_rank + qk_rope_head_dim]   c after its norm, then k_pe after RoPE
//   index keys [layers][kPageTokens][index_head_dim]                    after norm and RoPE; DSA models only
// All F32. Layers count the MTP layer last, when it is loaded.
#pragma once

#include <cstdint>
#include <span>

namespace minke {

inline constexpr int64_t kPageTokens = 64;

struct CacheLayout {
  int64_t num_layers = 0, latent_dim = 0, index_head_dim = 0;

  int64_t page_floats() const { return num_layers * kPageTokens * (latent_dim + index_head_dim); }
  int64_t latent_offset(int64_t layer) const { return layer * kPageTokens * latent_dim; }
  int64_t index_offset(int64_t layer) const {
    return num_layers * kPageTokens * latent_dim + layer * kPageTokens * index_head_dim;
  }
};

}  // namespace minke
