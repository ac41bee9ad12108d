#include "minke/model/pass.h"

#include <algorithm>

namespace minke {
namespace {

constexpr int64_t kUnorderedRows = 16;  // of a batch that is small in any case

}  // namespace

Scratch::Scratch(Arena& arena, const Model& model, const ForwardOptions& o, int num_threads) {
  const ModelConfig& c = model.config();
  const int64_t tokens = o.max_batch_tokens, d = c.hidden_size, heads = c.num_attention_heads;
  const int64_t tile = std::min(tokens, kAttentionTile), dr = c.qk_rope_head_dim;
  pos = arena.Take<int64_t>(tokens);
  pages = arena.Take<float* const*>(tokens);
  cos = arena.TakeTensor<float>({tokens, dr / 2});
  sin = arena.TakeTensor<float>({tokens, dr / 2});
  x = arena.TakeTensor<float>({tokens, d});
  x_norm = arena.TakeTensor<float>({tokens, d});
  hidden = arena.TakeTensor<float>({tokens, d});
  block_out = arena.TakeTensor<float>({tokens, d});

  q_a = arena.TakeTensor<float>({tokens, c.q_lora_rank});
  q = arena.TakeTensor<float>({tokens, heads * c.qk_head_dim()});
  kv_a = arena.TakeTensor<float>({tokens, c.latent_dim()});
  q_latent = arena.TakeTensor<float>({tile, heads, c.latent_dim()});
  o_latent = arena.TakeTensor<float>({tile, heads, c.kv_lora_rank});
  attention_out = arena.TakeTensor<float>({tokens, heads * c.v_head_dim});
  attend_scratch = arena.TakeTensor<float>(
      {num_threads, AttendLatentScratch(o.cache.latents, heads, c.kv_lora_rank, c.qk_rope_head_dim)});
  if (o.mla_form == MlaForm::kExpanded) {
    kv_b = arena.TakeTensor<float>({kPageTokens, heads * (c.qk_nope_head_dim + c.v_head_dim)});
    k_expanded = arena.TakeTensor<float>({kPageTokens, heads, c.qk_head_dim()});
    running_max = arena.TakeTensor<float>({tokens, heads});
    running_sum = arena.TakeTensor<float>({tokens, heads});
  }
  num_selected = arena.Take<int32_t>(tokens);
  if (c.has_indexer() && o.attention == Attention::kDsa) {
    index_q = arena.TakeTensor<float>({tokens, c.index_n_heads * c.index_head_dim});
    index_w = arena.TakeTensor<float>({tokens, c.index_n_heads});
    index_k = arena.TakeTensor<float>({tokens, c.index_head_dim});
    if (o.cache.index_keys == RowFormat::kInt8)
      index_codes = arena.TakeTensor<uint8_t>({tokens, c.index_n_heads * c.index_head_dim});
    index_scores = arena.TakeTensor<float>({num_threads, o.max_context});
    topk = arena.TakeTensor<int32_t>({tokens, c.index_topk});
  }

  const int64_t experts_count = c.n_routed_experts, k = c.num_experts_per_tok;
  const int64_t widest =
      std::max({c.intermediate_size, c.moe_intermediate_size * std::max<int64_t>(c.n_shared_experts, 1)});
  gate = arena.TakeTensor<float>({tokens, widest});
  up = arena.TakeTensor<float>({tokens, widest});
  router_scores = arena.TakeTensor<float>({tokens, experts_count});
  route_scratch = arena.TakeTensor<float>({num_threads, experts_count});
  experts = arena.TakeTensor<int32_t>({tokens, k});
  expert_weights = arena.TakeTensor<float>({tokens, k});
  expert_begin = arena.TakeTensor<int32_t>({num_threads, experts_count + 1});
  expert_list = arena.TakeTensor<int32_t>({num_threads, experts_count});
  expert_rows = arena.Take<int32_t>(tokens * k);
  expert_slots = arena.Take<int32_t>(tokens * k);
  expert_in = arena.TakeTensor<float>({tokens, d});
  // A small batch's experts run in the order in which they arrive, so all their rows are kept until they are added.
  const bool streams = model.streams_experts();
  expert_out = arena.TakeTensor<float>({streams ? std::max(tokens, std::min(tokens, kUnorderedRows) * k) : tokens, d});
  if (streams) {
    next_experts = arena.TakeTensor<int32_t>({tokens, k});
    next_expert_weights = arena.TakeTensor<float>({tokens, k});
  }

  logit_rows = arena.Take<int32_t>(o.max_logit_rows);
  logit_in = arena.TakeTensor<float>({o.max_logit_rows, d});
  logits = arena.TakeTensor<float>({o.max_logit_rows, c.vocab_size});
  if (model.has_mtp()) mtp_in = arena.TakeTensor<float>({tokens, 2 * d});
  if (c.has_tiles) {
    const int64_t most_rows = std::max({tokens, o.max_logit_rows, kPageTokens});
    const int64_t most_cols = std::max({2 * d, c.q_lora_rank, c.kv_lora_rank, heads * c.v_head_dim, widest});
    linear_x = arena.TakeTensor<TileX>({most_rows, ColTiles(most_cols)});
    task_x = arena.TakeTensor<TileX>({num_threads, kAttentionTile * ColTiles(c.kv_lora_rank)});
  }
}

Pass Pass::Alone(Scratch& own, ForwardStats& own_stats) const {
  return {.c = c,
          .options = options,
          .layout = layout,
          .kernels = kernels,
          .pool = ThreadPool::Alone(),
          .s = own,
          .softmax_scale = softmax_scale,
          .stats = own_stats,
          .taps = nullptr,
          .items = {},  // the expanded form's
          .num_rows = num_rows};
}

void Pass::SmallLinear(const float* x, int64_t x_stride, int64_t rows, const WeightView& w, float* y, int64_t y_stride,
                       int worker) const {
  if (!IsTiled(w.dtype)) return kernels.matmul(x, x_stride, rows, w, 0, w.rows, y, y_stride);
  const int64_t blocks = ColTiles(w.cols);
  TileX* codes = s.task_x[worker].data();
  for (int64_t r = 0; r < rows; ++r) kernels.quantize_x(x + r * x_stride, w.cols, codes + r * blocks);
  kernels.matmul_tiles(codes, blocks, rows, w, 0, w.rows, y, y_stride);
}

Scratch Scratch::Part(int64_t begin, int64_t end, int64_t thread) const {
  MINKE_DCHECK(end <= q_latent.dim(0));
  Scratch part = *this;
  const auto span_of_rows = [&](auto& span, int64_t per_row) {
    if (!span.empty())
      span = span.subspan(static_cast<size_t>(begin * per_row), static_cast<size_t>((end - begin) * per_row));
  };
  span_of_rows(part.pos, 1);
  span_of_rows(part.pages, 1);
  span_of_rows(part.num_selected, 1);
  span_of_rows(part.expert_rows, experts.dim(1));
  span_of_rows(part.expert_slots, experts.dim(1));
  const auto rows = [&](auto&... views) { ((views = views.dim(0) > 0 ? views.Rows(begin, end) : views), ...); };
  rows(part.cos, part.sin, part.x, part.x_norm, part.hidden, part.block_out, part.q_a, part.q, part.kv_a, part.q_latent,
       part.o_latent, part.attention_out, part.index_q, part.index_w, part.index_k, part.index_codes, part.topk,
       part.gate, part.up, part.router_scores, part.experts, part.expert_weights, part.expert_in, part.expert_out,
       part.mtp_in, part.linear_x);
  const auto own = [&](auto&... views) { ((views = views.dim(0) > 0 ? views.Rows(thread, thread + 1) : views), ...); };
  own(part.attend_scratch, part.index_scores, part.route_scratch, part.expert_begin, part.expert_list, part.task_x);
  return part;
}

void Pass::Linear(TensorView<const float, 2> x, const WeightView& w, TensorView<float, 2> y,
                  std::span<const float> bias) const {
  const Product product = {w, y, bias};
  Linear(x, {&product, 1});
}

void Pass::Linear(TensorView<const float, 2> x, std::span<const Product> products) const {
  const int64_t rows = x.dim(0), cols = x.dim(1), blocks = ColTiles(cols);
  if (rows == 0) return;
  int64_t units = 0;  // of kTileRows rows of W, which go together: a tile is read once
  bool tiled = false;
  for (const Product& product : products) {
    MINKE_DCHECK(product.w.cols == cols && product.y.dim(1) == product.w.rows && product.y.dim(0) == rows);
    units += RowTiles(product.w.rows);
    tiled = tiled || IsTiled(product.w.dtype);
  }
  if (tiled)
    pool.ForRanges(rows, std::max<int64_t>(1, kGrainFloats / cols), [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) kernels.quantize_x(x[r].data(), cols, s.linear_x.data() + r * blocks);
    });
  pool.ForRanges(units, std::max<int64_t>(1, kGrainMultiplyAdds / (rows * cols * kTileRows)),
                 [&](int64_t first, int64_t last, int) {
                   for (const Product& product : products) {
                     const int64_t begin = first * kTileRows, end = std::min(last * kTileRows, product.w.rows);
                     if (begin < end) Rows(x, product, begin, end);
                     first = std::max<int64_t>(first - RowTiles(product.w.rows), 0);
                     last -= RowTiles(product.w.rows);
                   }
                 });
}

void Pass::Rows(TensorView<const float, 2> x, const Product& product, int64_t begin, int64_t end) const {
  const auto& [w, y, bias] = product;
  const int64_t rows = x.dim(0), blocks = ColTiles(w.cols);
  float* out = y.data() + begin;
  if (IsTiled(w.dtype)) {
    kernels.matmul_tiles(s.linear_x.data(), blocks, rows, w, begin, end, out, y.stride(0));
  } else {
    kernels.matmul(x.data(), x.stride(0), rows, w, begin, end, out, y.stride(0));
  }
  if (bias.empty()) return;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t n = begin; n < end; ++n) y[r][static_cast<size_t>(n)] += bias[static_cast<size_t>(n)];
}

void Pass::RmsNorm(TensorView<const float, 2> x, std::span<const float> weight, float eps,
                   TensorView<float, 2> y) const {
  const int64_t n = x.dim(1);
  pool.ForRanges(x.dim(0), std::max<int64_t>(1, kGrainFloats / n), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) kernels.rms_norm(x[r].data(), weight.data(), n, eps, y[r].data());
  });
}

void Pass::AddTo(TensorView<float, 2> x, TensorView<const float, 2> y) const {
  pool.ForRanges(x.dim(0), std::max<int64_t>(1, kGrainFloats / x.dim(1)), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) kernels.axpy(1.0f, y[r].data(), x.dim(1), x[r].data());
  });
}

}  // namespace minke
