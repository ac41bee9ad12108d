// Multi-head latent attention (docs/model.md, "Two forms of attention"), in two forms that are equal but for rounding:
//   absorbed: q_c = W_k^T q_nope;  o = W_v sum_s softmax(q_c . c_s + q_pe . k_pe_s) c_s     reads latents only
//   expanded: k_s = [W_k c_s; k_pe_s], v_s = W_v c_s;  o = sum_s softmax(q . k_s) v_s        per page of keys
// The absorbed form reads just the selected rows; the expanded one is for queries that see everything.
#include <algorithm>
#include <cstring>
#include <limits>

#include "minke/kernels/pack_row.h"
#include "minke/model/pass.h"

namespace minke {
namespace {

void ApplyRope(const Pass& pass, int64_t row, float* part) {
  pass.kernels.rope_interleaved(part, pass.s.cos[row].data(), pass.s.sin[row].data(), pass.c.qk_rope_head_dim);
}

// c_q = rmsnorm(W_q_a x); q = W_q_b c_q; RoPE on the last dr of every head.   s.q [tokens, H * (dn + dr)]
void Queries(const Pass& pass, const LayerWeights& w) {
  const ModelConfig& c = pass.c;
  Scratch& s = pass.s;
  const int64_t n = pass.num_rows;
  if (c.q_lora_rank == 0) {
    pass.Linear(s.x_norm.Rows(0, n), w.q_proj, s.q.Rows(0, n));
  } else {
    const auto q_a = s.q_a.Rows(0, n);
    pass.Linear(s.x_norm.Rows(0, n), w.q_a_proj, q_a, w.q_a_proj_bias);
    if (s.keeps) std::copy_n(q_a.data(), n * q_a.dim(1), s.q_a_raw.data());
    pass.RmsNorm(q_a, w.q_a_layernorm, kLatentNormEps, q_a);
    pass.Linear(q_a, w.q_b_proj, s.q.Rows(0, n));
  }
  pass.pool.ForRanges(n, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t h = 0; h < c.num_attention_heads; ++h)
        ApplyRope(pass, row, s.q[row].data() + h * c.qk_head_dim() + c.qk_nope_head_dim);
  });
}

// c = rmsnorm(latent part of W_kv_a x), k_pe = rope(rest): one cached row a token.
void CacheLatents(const Pass& pass, const LayerWeights& w, int64_t layer) {
  const ModelConfig& c = pass.c;
  Scratch& s = pass.s;
  const int64_t n = pass.num_rows, rc = c.kv_lora_rank;
  const auto kv_a = s.kv_a.Rows(0, n);
  pass.Linear(s.x_norm.Rows(0, n), w.kv_a_proj_with_mqa, kv_a, w.kv_a_proj_with_mqa_bias);
  if (s.keeps) std::copy_n(kv_a.data(), n * kv_a.dim(1), s.kv_a_raw.data());
  pass.pool.ForRanges(n, kCachedRowsGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      float* latent = kv_a[row].data();
      pass.kernels.rms_norm(latent, w.kv_a_layernorm.data(), rc, kLatentNormEps, latent);
      ApplyRope(pass, row, latent + rc);
      PackLatent(pass.kernels, pass.layout.formats.latents, latent, rc, c.qk_rope_head_dim,
                 pass.Latents(layer, row).row(s.pos[static_cast<size_t>(row)]));
    }
  });
}

// Rows [begin, end), at most kAttentionTile of them, in the absorbed form.
void AttendAbsorbed(const Pass& pass, const LayerWeights& w, int64_t layer, int64_t begin, int64_t end) {
  const ModelConfig& c = pass.c;
  Scratch& s = pass.s;
  const int64_t n = end - begin, heads = c.num_attention_heads, rc = c.kv_lora_rank, dr = c.qk_rope_head_dim;
  const auto q = s.q.Rows(begin, end).Split(c.qk_head_dim());
  const auto out = s.attention_out.Rows(begin, end);
  const int64_t first = s.keeps ? begin : 0;
  const auto q_latents = s.q_latent.Rows(first, first + n), o_latents = s.o_latent.Rows(first, first + n);

  pass.pool.Run(heads, [&](int64_t h, int) {
    float* q_latent = q_latents.data() + h * (rc + dr);
    pass.kernels.matmul_transposed(q.data() + h * c.qk_head_dim(), q.stride(0), n, KeyRows(c, w, h), 0, rc, q_latent,
                                   q_latents.stride(0));
    for (int64_t i = 0; i < n; ++i)
      std::memcpy(q_latent + i * q_latents.stride(0) + rc, q[i][h].data() + c.qk_nope_head_dim,
                  static_cast<size_t>(dr) * sizeof(float));
  });

  // A task walks its rows of the cache for all of its heads, so heads part only where threads would have nothing to do.
  const int threads = pass.pool.num_threads();
  const int64_t per_task = threads == 1 || n >= 2 * threads ? heads : std::min(heads, kHeadsPerTask);
  const int64_t tasks_per_row = (heads + per_task - 1) / per_task;
  pass.pool.Run(n * tasks_per_row, [&](int64_t task, int worker) {
    const int64_t i = task / tasks_per_row, row = begin + i;
    const int64_t h = task % tasks_per_row * per_task, num_heads = std::min(per_task, heads - h);
    const int32_t selected = s.num_selected[static_cast<size_t>(row)];
    const bool all = selected == kSelectsAll;
    const int64_t count = all ? s.pos[static_cast<size_t>(row)] + 1 : selected;
    pass.kernels.attend_latent(q_latents[i][h].data(), num_heads, rc, dr, pass.Latents(layer, row),
                               all ? nullptr : s.topk[row].data(), count, pass.softmax_scale, o_latents[i][h].data(),
                               s.attend_scratch[worker].data());
  });

  pass.pool.Run(heads, [&](int64_t h, int worker) {
    pass.SmallLinear(o_latents.data() + h * rc, o_latents.stride(0), n, ValueRows(c, w, h),
                     out.data() + h * c.v_head_dim, out.stride(0), worker);
  });
}

// Rows [begin, end) of one sequence, all of which see every position up to their own.
void AttendExpanded(const Pass& pass, const LayerWeights& w, int64_t layer, int64_t begin, int64_t end) {
  const ModelConfig& c = pass.c;
  Scratch& s = pass.s;
  const int64_t heads = c.num_attention_heads, dn = c.qk_nope_head_dim, dv = c.v_head_dim, rc = c.kv_lora_rank;
  const int64_t dk = c.qk_head_dim(), last_pos = s.pos[static_cast<size_t>(end - 1)];
  const PagedRows latents = pass.Latents(layer, begin);
  for (int64_t row = begin; row < end; ++row) {
    std::ranges::fill(s.running_max[row], -std::numeric_limits<float>::infinity());
    std::ranges::fill(s.running_sum[row], 0.0f);
    std::ranges::fill(s.attention_out[row], 0.0f);
  }
  for (int64_t first = 0; first <= last_pos; first += kPageTokens) {
    const int64_t count = std::min(kPageTokens, last_pos + 1 - first);
    const TensorView<const float, 2> cached(latents.row(first), {count, latents.width});
    const TensorView<const float, 2> c_rows = cached.Slice(0, rc);
    pass.Linear(c_rows, w.kv_b_proj, s.kv_b.Rows(0, count));
    pass.pool.ForRanges(count, 8, [&](int64_t from, int64_t to, int) {
      for (int64_t i = from; i < to; ++i)
        for (int64_t h = 0; h < heads; ++h) {
          float* k = s.k_expanded[i][h].data();
          std::memcpy(k, s.kv_b[i].data() + h * (dn + dv), static_cast<size_t>(dn) * sizeof(float));
          std::memcpy(k + dn, cached[i].data() + rc, static_cast<size_t>(dk - dn) * sizeof(float));
        }
    });
    pass.pool.Run(end - begin, [&](int64_t i, int) {
      const int64_t row = begin + i, visible = s.pos[static_cast<size_t>(row)] + 1 - first;
      if (visible <= 0) return;
      for (int64_t h = 0; h < heads; ++h)
        pass.kernels.attend_expanded(s.q[row].data() + h * dk, s.k_expanded.data() + h * dk, heads * dk,
                                     s.kv_b.data() + h * (dn + dv) + dn, heads * (dn + dv), std::min(count, visible),
                                     dk, dv, pass.softmax_scale, s.running_max[row].data() + h,
                                     s.running_sum[row].data() + h, s.attention_out[row].data() + h * dv);
    });
  }
  for (int64_t row = begin; row < end; ++row)
    for (int64_t h = 0; h < heads; ++h) {
      const float inverse = 1 / s.running_sum[row][static_cast<size_t>(h)];
      for (int64_t i = 0; i < dv; ++i) s.attention_out[row][static_cast<size_t>(h * dv + i)] *= inverse;
    }
}

void CountKeys(const Pass& pass) {
  for (int64_t row = 0; row < pass.num_rows; ++row) {
    const int64_t visible = pass.s.pos[static_cast<size_t>(row)] + 1;
    const int32_t selected = pass.s.num_selected[static_cast<size_t>(row)];
    ++pass.stats.queries;
    pass.stats.visible_keys += visible;
    pass.stats.selected_keys += selected == kSelectsAll ? visible : selected;
  }
}

}  // namespace

void CacheRows(const Pass& pass, const LayerWeights& w, int64_t layer) {
  CacheLatents(pass, w, layer);
  if (pass.selects()) CacheIndexKeys(pass, w, layer);
}

void RunAttention(const Pass& pass, const LayerWeights& w, int64_t layer) {
  Scratch& s = pass.s;
  const int64_t n = pass.num_rows;
  Queries(pass, w);
  if (pass.selects()) {
    if (!pass.given_topk) SelectKeys(pass, w, layer);
  } else {
    std::ranges::fill(s.num_selected.first(static_cast<size_t>(n)), kSelectsAll);
  }
  CountKeys(pass);

  int64_t begin = 0;
  for (const BatchItem& item : pass.items) {
    const int64_t end = begin + static_cast<int64_t>(item.tokens.size());
    int64_t absorbed_from = begin;
    if (pass.options.mla_form == MlaForm::kExpanded) {
      while (absorbed_from < end && s.num_selected[static_cast<size_t>(absorbed_from)] == kSelectsAll) ++absorbed_from;
      if (absorbed_from > begin) AttendExpanded(pass, w, layer, begin, absorbed_from);
      for (int64_t from = absorbed_from; from < end; from += kAttentionTile)
        AttendAbsorbed(pass, w, layer, from, std::min(end, from + kAttentionTile));
    }
    begin = end;
  }
  if (pass.options.mla_form == MlaForm::kAbsorbed)
    for (int64_t from = 0; from < n; from += kAttentionTile)
      AttendAbsorbed(pass, w, layer, from, std::min(n, from + kAttentionTile));

  pass.Linear(s.attention_out.Rows(0, n), w.o_proj, s.block_out.Rows(0, n), w.o_proj_bias);
}

}  // namespace minke
