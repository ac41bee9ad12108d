// The lightning indexer (docs/model.md: index keys, index scores, selection):
//   I[t, s] = sum_j w[t, j] max(0, q[t, j] . k[s]);  Sel(t) = the min(K, t + 1) largest over s <= t.
#include <cmath>

#include "minke/kernels/pack_row.h"
#include "minke/model/pass.h"

namespace minke {
namespace {

void ApplyRope(const Pass& pass, int64_t row, float* head) {
  const auto rope =
      pass.c.index_rope == RopePairing::kInterleaved ? pass.kernels.rope_interleaved : pass.kernels.rope_half_split;
  // The RoPE part comes first in an index head, unlike MLA's.
  rope(head, pass.s.cos[row].data(), pass.s.sin[row].data(), pass.c.qk_rope_head_dim);
}

RowFormat KeyFormat(const Pass& pass) { return pass.layout.formats.index_keys; }

// Calls f with every row that sees more than K positions; the others attend to all of them.
template <class F>
void ForSelectingRows(const Pass& pass, F&& f) {
  for (int64_t row = 0; row < pass.num_rows; ++row)
    if (pass.s.pos[static_cast<size_t>(row)] + 1 > pass.c.index_topk) f(row);
}

}  // namespace

// Every token's key is cached, also while the context is short.
void CacheIndexKeys(const Pass& pass, const LayerWeights& w, int64_t layer) {
  if (!pass.c.has_own_indexer[static_cast<size_t>(layer)]) return;
  Scratch& s = pass.s;
  const int64_t n = pass.num_rows, dim = pass.c.index_head_dim;
  const auto keys = s.index_k.Rows(0, n);
  pass.Linear(s.x_norm.Rows(0, n), w.indexer_wk, keys);
  pass.pool.ForRanges(n, kCachedRowsGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      float* key = keys[row].data();
      pass.kernels.layer_norm(key, w.indexer_k_norm_weight.data(), w.indexer_k_norm_bias.data(), dim, kIndexNormEps,
                              key);
      ApplyRope(pass, row, key);
      PackIndexKey(pass.kernels, KeyFormat(pass), key, dim,
                   pass.IndexKeys(layer, row).row(s.pos[static_cast<size_t>(row)]));
    }
  });
}

void SelectKeys(const Pass& pass, const LayerWeights& w, int64_t layer) {
  const ModelConfig& c = pass.c;
  Scratch& s = pass.s;
  if (!c.has_own_indexer[static_cast<size_t>(layer)]) return;  // reuses the sets of the layer before
  const int64_t n = pass.num_rows, heads = c.index_n_heads, dim = c.index_head_dim;
  int64_t num_selecting = 0;
  for (int64_t row = 0; row < n; ++row) s.num_selected[static_cast<size_t>(row)] = kSelectsAll;
  ForSelectingRows(pass, [&](int64_t) { ++num_selecting; });
  if (num_selecting == 0) return;

  pass.Linear(s.q_a.Rows(0, n), w.indexer_wq_b, s.index_q.Rows(0, n));
  pass.Linear(s.x_norm.Rows(0, n), w.indexer_weights_proj, s.index_w.Rows(0, n));
  const float scale = 1 / std::sqrt(static_cast<float>(heads) * static_cast<float>(dim));
  const auto prepare = [&](int64_t row) {
    for (int64_t j = 0; j < heads; ++j) ApplyRope(pass, row, s.index_q[row].data() + j * dim);
    for (float& weight : s.index_w[row]) weight *= scale;
    for (int64_t j = 0; j < heads; ++j) {
      float* head = s.index_q[row].data() + j * dim;
      if (RotatesIndex(KeyFormat(pass))) RotateIndex(pass.kernels, head, dim);
      if (KeyFormat(pass) != RowFormat::kInt8) continue;
      float head_scale = 0;
      pass.kernels.quantize_i8(head, dim, s.index_codes[row].data() + j * dim, &head_scale);
      s.index_w[row][static_cast<size_t>(j)] *= head_scale;
    }
  };
  const auto score = [&](int64_t row, int64_t begin, int64_t end, float* scores) {
    if (KeyFormat(pass) == RowFormat::kInt8) {
      pass.kernels.index_scores_i8(s.index_codes[row].data(), s.index_w[row].data(), heads, dim,
                                   pass.IndexKeys(layer, row), begin, end, scores + begin);
      return;
    }
    pass.kernels.index_scores(s.index_q[row].data(), s.index_w[row].data(), heads, dim, pass.IndexKeys(layer, row),
                              begin, end, scores + begin);
  };
  const auto select = [&](int64_t row, const float* scores) {
    s.num_selected[static_cast<size_t>(row)] = static_cast<int32_t>(
        pass.kernels.top_k(scores, s.pos[static_cast<size_t>(row)] + 1, c.index_topk, s.topk[row].data()));
  };

  if (num_selecting >= 2 * pass.pool.num_threads()) {  // a row a task
    pass.pool.Run(n, [&](int64_t row, int worker) {
      if (s.pos[static_cast<size_t>(row)] + 1 <= c.index_topk) return;
      float* scores = s.index_scores[worker].data();
      prepare(row);
      score(row, 0, s.pos[static_cast<size_t>(row)] + 1, scores);
      select(row, scores);
    });
    return;
  }
  float* scores = s.index_scores[0].data();
  ForSelectingRows(pass, [&](int64_t row) {  // few rows: a range of keys a task
    prepare(row);
    pass.pool.ForRanges(s.pos[static_cast<size_t>(row)] + 1, 256,
                        [&](int64_t begin, int64_t end, int) { score(row, begin, end, scores); });
    select(row, scores);
  });
}

}  // namespace minke
