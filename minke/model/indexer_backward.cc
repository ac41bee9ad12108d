// The indexer's own loss (docs/training.md: indexer): KL(p || softmax(I)) over the positions that the query attends to,
// p the attention's probabilities averaged over its heads. p is a constant, and the indexer's inputs are too: its
// gradient ends at its weights.
#include <cmath>

#include "minke/model/backward.h"

namespace minke {
namespace {

float WeightScale(const ModelConfig& c) {
  return 1 / std::sqrt(static_cast<float>(c.index_n_heads) * static_cast<float>(c.index_head_dim));
}

void Rotate(const Pass& pass, int64_t row, const float* sin, float* head) {
  const auto rope =
      pass.c.index_rope == RopePairing::kInterleaved ? pass.kernels.rope_interleaved : pass.kernels.rope_half_split;
  rope(head, pass.s.cos[row].data(), sin, pass.c.qk_rope_head_dim);
}

}  // namespace

void IndexerForward(const BackwardPass& back, const LayerWeights& w, TensorView<const float, 2> x_norm) {
  const Pass& pass = back.pass;
  const ModelConfig& c = pass.c;
  BackwardScratch& b = back.b;
  const int64_t n = pass.num_rows, dim = c.index_head_dim;
  pass.Linear(pass.s.q_a.Rows(0, n), w.indexer_wq_b, b.index_q.Rows(0, n));
  const Pass::Product products[] = {{w.indexer_weights_proj, b.index_w.Rows(0, n)},
                                    {w.indexer_wk, b.index_k_raw.Rows(0, n)}};
  pass.Linear(x_norm, products);
  pass.pool.ForRanges(n, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float* sin = pass.s.sin[row].data();
      for (int64_t j = 0; j < c.index_n_heads; ++j) Rotate(pass, row, sin, b.index_q[row].data() + j * dim);
      for (float& weight : b.index_w[row]) weight *= WeightScale(c);
      float* key = b.index_k[row].data();
      pass.kernels.layer_norm(b.index_k_raw[row].data(), w.indexer_k_norm_weight.data(), w.indexer_k_norm_bias.data(),
                              dim, kIndexNormEps, key);
      Rotate(pass, row, sin, key);
    }
  });
}

// index_k holds the gradient of the keys on entry.
void IndexerBackward(const BackwardPass& back, const LayerWeights& w, TensorView<const float, 2> x_norm) {
  const Pass& pass = back.pass;
  const ModelConfig& c = pass.c;
  BackwardScratch& b = back.b;
  const int64_t n = pass.num_rows, dim = c.index_head_dim;
  const auto d_q = b.d_index_q.Rows(0, n), d_w = b.d_index_w.Rows(0, n), d_k = b.index_k.Rows(0, n);
  const auto d_k_raw = b.d_index_k_raw.Rows(0, n);
  Zero(d_k_raw);
  pass.pool.ForRanges(n, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const float* sin = b.sin_back[row].data();
      for (int64_t j = 0; j < c.index_n_heads; ++j) Rotate(pass, row, sin, d_q[row].data() + j * dim);
      for (float& weight : d_w[row]) weight *= WeightScale(c);
      Rotate(pass, row, sin, d_k[row].data());
    }
  });
  back.LayerNorm(b.index_k_raw.Rows(0, n), w.indexer_k_norm_weight, w.indexer_k_norm_bias, kIndexNormEps, d_k, d_k_raw);
  back.LinearWeight(pass.s.q_a.Rows(0, n), w.indexer_wq_b, d_q);
  back.LinearWeight(x_norm, w.indexer_weights_proj, d_w);
  back.LinearWeight(x_norm, w.indexer_wk, d_k_raw);
  for (const double kl : b.kl) back.losses.indexer_kl += kl;
}

}  // namespace minke
