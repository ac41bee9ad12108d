// The narrow strip between engine and model: the engine owns pages, the model reads and writes rows.
// A page holds, for kPageTokens consecutive positions of one sequence, every layer's rows:
//   latents    [layers][kPageTokens][latent_width]   c after its norm, then k_pe after RoPE
//   index keys [layers][kPageTokens][index_width]    after norm and RoPE; DSA models only
// each in its format (kernels/paged_rows.h), with widths in floats. Layers count the MTP layer last, when it is loaded.
#pragma once

#include <cstdint>
#include <span>

#include "minke/kernels/paged_rows.h"

namespace minke {

inline constexpr int64_t kPageTokens = 64;

// What the cache rounds. Latents in kInt8 are attended to in 8-bit products, in other formats in F32. Index keys in
// kFp8 and kInt8 are first rotated by a Hadamard matrix, as their queries are; those in kInt8 are scored in 8-bit
// products. docs/performance.md says what each costs in quality and saves in time.
struct CacheFormats {
  RowFormat latents = RowFormat::kF32, index_keys = RowFormat::kF32;
  bool operator==(const CacheFormats&) const = default;
};

struct CacheLayout {
  int64_t num_layers = 0, kv_lora_rank = 0, qk_rope_head_dim = 0;
  int64_t index_head_dim = 0;  // 0 without an indexer
  CacheFormats formats = {};

  int64_t latent_width() const { return RowFloats(formats.latents, kv_lora_rank, qk_rope_head_dim); }
  int64_t index_width() const { return RowFloats(formats.index_keys, index_head_dim, 0); }
  int64_t page_floats() const { return num_layers * kPageTokens * (latent_width() + index_width()); }
  int64_t latent_offset(int64_t layer) const { return layer * kPageTokens * latent_width(); }
  int64_t index_offset(int64_t layer) const {
    return num_layers * kPageTokens * latent_width() + layer * kPageTokens * index_width();
  }
};

}  // namespace minke
