// MLA in its absorbed form, backwards (docs/training.md: attention). The selection has no gradient: each query goes
// back to the rows that its forward pass has read, and the indexer learns from its own loss (indexer_backward.cc).
#include <algorithm>

#include "minke/model/backward.h"

namespace minke {
namespace {

constexpr int64_t kWholeSequence = int64_t{1} << 30;

// What one query has seen.
struct Seen {
  const int32_t* positions;  // null: all of them
  int64_t count;
};
Seen SeenBy(const Pass& pass, int64_t row) {
  const int32_t selected = pass.s.num_selected[static_cast<size_t>(row)];
  if (selected == kSelectsAll) return {nullptr, pass.s.pos[static_cast<size_t>(row)] + 1};
  return {pass.s.topk[row].data(), selected};
}

// The first row of the sequence that `row` belongs to.
int64_t SequenceStart(const Pass& pass, int64_t row) { return row - pass.s.pos[static_cast<size_t>(row)]; }

// sum[i] = the pieces' sums for row i, in order. Piece p has written rows [start of its first row's sequence, its end).
void SumPieces(const Pass& pass, TensorView<const float, 3> pieces, TensorView<float, 2> sum) {
  const int64_t n = pass.num_rows;
  pass.pool.ForRanges(n, 64, [&](int64_t first, int64_t last, int) {
    for (int64_t r = first; r < last; ++r) {
      std::ranges::fill(sum[r], 0.0f);
      for (int64_t piece = 0; piece < kGradPieces; ++piece) {
        const int64_t begin = n * piece / kGradPieces, end = n * (piece + 1) / kGradPieces;
        if (begin < end && SequenceStart(pass, begin) <= r && r < end)
          pass.kernels.axpy(1.0f, pieces[piece][r].data(), sum.dim(1), sum[r].data());
      }
    }
  });
}

void RotateBack(const BackwardPass& back, int64_t row, float* part) {
  const Pass& pass = back.pass;
  pass.kernels.rope_interleaved(part, pass.s.cos[row].data(), back.b.sin_back[row].data(), pass.c.qk_rope_head_dim);
}

// Every query's share of d_q_latent and of the rows it has read; with it the indexer's loss, which needs the
// probabilities.
void QueriesBackward(const BackwardPass& back, int64_t layer, bool model, bool indexer) {
  const Pass& pass = back.pass;
  const ModelConfig& c = pass.c;
  const Scratch& s = pass.s;
  BackwardScratch& b = back.b;
  const int64_t heads = c.num_attention_heads, rc = c.kv_lora_rank, dr = c.qk_rope_head_dim, dim = c.index_head_dim;
  ForPieces(pass.pool, pass.num_rows, [&](int64_t piece, int64_t begin, int64_t end, int worker) {
    const int64_t start = SequenceStart(pass, begin);
    if (model) Zero(b.d_rows[piece].Rows(start, end));
    if (indexer) Zero(b.d_index_k[piece].Rows(start, end));
    double kl = 0;
    for (int64_t row = begin; row < end; ++row) {
      const Seen seen = SeenBy(pass, row);
      const int64_t first = SequenceStart(pass, row);
      float* p = indexer ? b.p[worker].data() : nullptr;
      pass.kernels.attend_latent_grad(
          s.q_latent[row].data(), s.o_latent[row].data(), model ? b.d_o_latent[row].data() : nullptr, heads, rc, dr,
          pass.Latents(layer, row), seen.positions, seen.count, pass.softmax_scale,
          model ? b.d_q_latent[row].data() : nullptr, model ? b.d_rows[piece][first].data() : nullptr, p,
          b.attend_scratch[worker].data());
      if (!indexer) continue;
      if (back.options.on_attention) back.options.on_attention(layer, row, {p, static_cast<size_t>(seen.count)});
      float* page = b.index_k[first].data();  // the whole sequence is one page
      const PagedRows keys{&page, 0, dim, kWholeSequence, RowFormat::kF32};
      kl += pass.kernels.index_kl_grad(b.index_q[row].data(), b.index_w[row].data(), c.index_n_heads, dim, keys,
                                       seen.positions, seen.count, p, back.options.indexer_weight,
                                       b.d_index_q[row].data(), b.d_index_w[row].data(),
                                       b.d_index_k[piece][first].data(), b.index_scratch[worker].data());
    }
    b.kl[static_cast<size_t>(piece)] = kl;
  });
}

void ProjectionsBackward(const BackwardPass& back, const LayerWeights& w, TensorView<const float, 2> x_norm,
                         TensorView<float, 2> dx) {
  const Pass& pass = back.pass;
  const ModelConfig& c = pass.c;
  const Scratch& s = pass.s;
  BackwardScratch& b = back.b;
  const int64_t n = pass.num_rows, heads = c.num_attention_heads, rc = c.kv_lora_rank, dn = c.qk_nope_head_dim;
  const int64_t width = c.latent_dim(), dk = c.qk_head_dim();
  const auto d_q = b.d_q.Rows(0, n), d_kv_a = b.d_kv_a.Rows(0, n);
  const auto q = s.q.Rows(0, n), d_q_latent = TensorView<float, 2>(b.d_q_latent.data(), {n, heads * width});

  // q_latent = q_nope W_k: both of its sides, head by head; the RoPE part is the query's own.
  pass.pool.Run(heads, [&](int64_t h, int) {
    const WeightView keys = KeyRows(c, w, h);
    float* d_latent = d_q_latent.data() + h * width;
    pass.kernels.matmul(d_latent, heads * width, n, keys, 0, dn, d_q.data() + h * dk, d_q.stride(0));
    pass.kernels.matmul_grad_weight(q.data() + h * dk, q.stride(0), d_latent, heads * width, n, rc, 0, dn,
                                    back.Of(keys), rc);
    for (int64_t row = 0; row < n; ++row) {
      float* rope = d_q[row].data() + h * dk + dn;
      std::copy_n(d_latent + row * heads * width + rc, c.qk_rope_head_dim, rope);
      RotateBack(back, row, rope);
    }
  });
  if (c.q_lora_rank == 0) {
    back.Linear(x_norm, w.q_proj, d_q, dx);
  } else {
    const auto d_q_a = b.d_q_a.Rows(0, n), d_q_a_raw = b.d_q_a_raw.Rows(0, n);
    Zero(d_q_a);
    Zero(d_q_a_raw);
    back.Linear(s.q_a.Rows(0, n), w.q_b_proj, d_q, d_q_a);
    back.RmsNorm(s.q_a_raw.Rows(0, n), w.q_a_layernorm, kLatentNormEps, d_q_a, d_q_a_raw);
    back.Bias(w.q_a_proj_bias, d_q_a_raw);
    back.Linear(x_norm, w.q_a_proj, d_q_a_raw, dx);
  }

  // The cached rows: c back through its norm, k_pe rotated back, in d_kv_a.
  const auto d_rows = b.d_rows[0].Rows(0, n);  // free since its sum
  SumPieces(pass, b.d_rows, d_kv_a);
  for (int64_t row = 0; row < n; ++row) {
    std::ranges::copy(d_kv_a[row], d_rows[row].begin());
    std::fill_n(d_kv_a[row].begin(), rc, 0.0f);
    RotateBack(back, row, d_kv_a[row].data() + rc);
  }
  back.RmsNorm(s.kv_a_raw.Rows(0, n).Slice(0, rc), w.kv_a_layernorm, kLatentNormEps, d_rows.Slice(0, rc),
               d_kv_a.Slice(0, rc));
  back.Bias(w.kv_a_proj_with_mqa_bias, d_kv_a);
  back.Linear(x_norm, w.kv_a_proj_with_mqa, d_kv_a, dx);
}

}  // namespace

void AttentionBackward(const BackwardPass& back, const LayerWeights& w, int64_t layer,
                       TensorView<const float, 2> x_norm, TensorView<const float, 2> dy, TensorView<float, 2> dx) {
  const Pass& pass = back.pass;
  const ModelConfig& c = pass.c;
  const Scratch& s = pass.s;
  BackwardScratch& b = back.b;
  const int64_t n = pass.num_rows, heads = c.num_attention_heads, rc = c.kv_lora_rank, dv = c.v_head_dim;
  const bool indexer = back.options.indexer_weight > 0 && c.has_own_indexer[static_cast<size_t>(layer)];
  const bool model = back.options.model;
  for (int64_t row = 0; row < n; ++row)
    for (size_t i = 0; i < s.sin[row].size(); ++i) b.sin_back[row][i] = -s.sin[row][i];
  if (indexer) IndexerForward(back, w, x_norm);
  if (model) {
    const auto d_out = b.d_attention_out.Rows(0, n);
    const auto o_latent = TensorView<const float, 2>(s.o_latent.data(), {n, heads * rc});
    const auto d_o_latent = TensorView<float, 2>(b.d_o_latent.data(), {n, heads * rc});
    back.Bias(w.o_proj_bias, dy);
    Zero(d_out);
    back.Linear(s.attention_out.Rows(0, n), w.o_proj, dy, d_out);
    Zero(d_o_latent);
    pass.pool.Run(heads, [&](int64_t h, int) {  // out = o_latent W_v^T
      const WeightView values = ValueRows(c, w, h);
      const float* d_head = d_out.data() + h * dv;
      pass.kernels.matmul_grad_input(d_head, d_out.stride(0), n, values, 0, rc, d_o_latent.data() + h * rc, heads * rc);
      pass.kernels.matmul_grad_weight(d_head, d_out.stride(0), o_latent.data() + h * rc, heads * rc, n, rc, 0, dv,
                                      back.Of(values), rc);
    });
  }
  if (model || indexer) QueriesBackward(back, layer, model, indexer);
  if (model) ProjectionsBackward(back, w, x_norm, dx);
  if (indexer) {
    SumPieces(pass, b.d_index_k, b.index_k.Rows(0, n));  // the keys are no longer needed
    IndexerBackward(back, w, x_norm);
  }
}

}  // namespace minke
