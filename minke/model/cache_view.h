// The narrow strip between engine and model: the engine owns pages, the model reads and writes rows.
// A page holds, for kPageTokens consecutive positions of one sequence, every layer's rows:
//   latents    [layers][kPageTokens][kv_lora_rank + qk_rope_head_dim]   c after its norm, then k_pe after RoPE
//   index keys [layers][kPageTokens][index_width]                       after norm and RoPE; DSA models only
// F32, but that index keys may be of 8 bits: index_head_dim codes and an F32 scale (index_scores_i8). Layers count the
// MTP layer last, when it is loaded.
#pragma once

#include <cstdint>
#include <span>

namespace minke {

inline constexpr int64_t kPageTokens = 64;

// kExact scores F32 queries against F32 keys. kInt8 rotates both by a Hadamard matrix and rounds them to 8 bits: a
// quarter of the memory, several times the speed, and nearly the same selection (docs/performance.md).
enum class IndexPrecision { kExact, kInt8 };

struct CacheLayout {
  int64_t num_layers = 0, latent_dim = 0;
  int64_t index_width = 0;  // floats of an index key; 0 without an indexer

  int64_t page_floats() const { return num_layers * kPageTokens * (latent_dim + index_width); }
  int64_t latent_offset(int64_t layer) const { return layer * kPageTokens * latent_dim; }
  int64_t index_offset(int64_t layer) const {
    return num_layers * kPageTokens * latent_dim + layer * kPageTokens * index_width;
  }
};

}  // namespace minke
