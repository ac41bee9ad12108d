#include "minke/model/backward.h"

#include <algorithm>

namespace minke {
namespace {

// Rows of x that a task of LinearInput takes at least.
constexpr int64_t kGrainRows = 16;

}  // namespace

BackwardScratch::BackwardScratch(Arena& arena, const ModelConfig& c, const LearnerOptions& o, int num_threads) {
  const int64_t n = o.max_tokens, d = c.hidden_size, heads = c.num_attention_heads, rc = c.kv_lora_rank;
  const int64_t width = c.latent_dim(), dr = c.qk_rope_head_dim;
  const bool selects = c.has_indexer() && o.attention == Attention::kDsa;
  const int64_t longest = selects ? std::min(c.index_topk, o.max_context) : o.max_context;
  d_x = arena.TakeTensor<float>({n, d});
  d_norm = arena.TakeTensor<float>({n, d});
  d_hidden = arena.TakeTensor<float>({n, d});
  d_attention_out = arena.TakeTensor<float>({n, heads * c.v_head_dim});
  d_o_latent = arena.TakeTensor<float>({n, heads, rc});
  d_q_latent = arena.TakeTensor<float>({n, heads, width});
  d_q = arena.TakeTensor<float>({n, heads * c.qk_head_dim()});
  d_q_a = arena.TakeTensor<float>({n, c.q_lora_rank});
  d_q_a_raw = arena.TakeTensor<float>({n, c.q_lora_rank});
  d_rows = arena.TakeTensor<float>({kGradPieces, n, width});
  d_kv_a = arena.TakeTensor<float>({n, width});
  sin_back = arena.TakeTensor<float>({n, dr / 2});
  attend_scratch = arena.TakeTensor<float>({num_threads, AttendLatentGradScratch(heads, rc, dr, longest)});
  p = arena.TakeTensor<float>({num_threads, longest});
  sums = arena.TakeTensor<float>({kGradPieces, 2 * std::max({d, c.q_lora_rank, width, c.index_head_dim})});
  kl = arena.Take<double>(kGradPieces);
  if (c.has_indexer()) {
    const int64_t index_heads = c.index_n_heads, dim = c.index_head_dim;
    index_q = arena.TakeTensor<float>({n, index_heads * dim});
    d_index_q = arena.TakeTensor<float>({n, index_heads * dim});
    index_w = arena.TakeTensor<float>({n, index_heads});
    d_index_w = arena.TakeTensor<float>({n, index_heads});
    index_k_raw = arena.TakeTensor<float>({n, dim});
    index_k = arena.TakeTensor<float>({n, dim});
    d_index_k = arena.TakeTensor<float>({kGradPieces, n, dim});
    d_index_k_raw = arena.TakeTensor<float>({n, dim});
    index_scratch = arena.TakeTensor<float>({num_threads, IndexGradScratch(index_heads, dim, longest)});
  }
  const int64_t widest =
      std::max({c.intermediate_size, c.moe_intermediate_size * std::max<int64_t>(c.n_shared_experts, 1)});
  for (auto* view : {&d_h, &h, &d_gate, &d_up}) *view = arena.TakeTensor<float>({n, widest});
  for (auto* view : {&expert_x, &expert_dy, &expert_dx}) *view = arena.TakeTensor<float>({n, d});
  d_expert_weights = arena.TakeTensor<float>({n, c.num_experts_per_tok});
  d_router = arena.TakeTensor<float>({n, c.n_routed_experts});
  balance_f = arena.Take<float>(c.n_routed_experts);
  if (o.mtp) d_mtp_in = arena.TakeTensor<float>({n, 2 * d});
}

void Zero(TensorView<float, 2> x) {
  for (int64_t r = 0; r < x.dim(0); ++r) std::ranges::fill(x[r], 0.0f);
}

void BackwardPass::LinearInput(const WeightView& w, TensorView<const float, 2> dy, TensorView<float, 2> dx) const {
  if (dx.dim(0) == 0) return;
  pass.pool.ForRanges(dy.dim(0), std::max(kGrainRows, kGrainMultiplyAdds / (w.rows * w.cols)),
                      [&](int64_t begin, int64_t end, int) {
                        pass.kernels.matmul_grad_input(dy[begin].data(), dy.stride(0), end - begin, w, 0, w.cols,
                                                       dx[begin].data(), dx.stride(0));
                      });
}

void BackwardPass::LinearWeight(TensorView<const float, 2> x, const WeightView& w,
                                TensorView<const float, 2> dy) const {
  const int64_t rows = x.dim(0);
  if (rows == 0) return;
  float* dw = Of(w);
  pass.pool.ForRanges(w.rows, std::max<int64_t>(8, kGrainMultiplyAdds / (rows * w.cols)),
                      [&](int64_t begin, int64_t end, int) {
                        pass.kernels.matmul_grad_weight(dy.data(), dy.stride(0), x.data(), x.stride(0), rows, w.cols,
                                                        begin, end, dw, w.cols);
                      });
}

void BackwardPass::Bias(const std::vector<float>& bias, TensorView<const float, 2> dy) const {
  if (bias.empty()) return;
  float* sum = Of(bias);
  for (int64_t r = 0; r < dy.dim(0); ++r) pass.kernels.axpy(1.0f, dy[r].data(), dy.dim(1), sum);
}

void BackwardPass::RmsNorm(TensorView<const float, 2> x, const std::vector<float>& weight, float eps,
                           TensorView<const float, 2> dy, TensorView<float, 2> dx) const {
  const int64_t n = static_cast<int64_t>(weight.size());
  const auto sums = b.sums.Slice(0, n);
  Zero(sums);
  ForPieces(pass.pool, dy.dim(0), [&](int64_t piece, int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      pass.kernels.rms_norm_grad(x[r].data(), weight.data(), dy[r].data(), n, eps, dx[r].data(), sums[piece].data());
  });
  for (int64_t piece = 0; piece < kGradPieces; ++piece) pass.kernels.axpy(1.0f, sums[piece].data(), n, Of(weight));
}

void BackwardPass::LayerNorm(TensorView<const float, 2> x, const std::vector<float>& weight,
                             const std::vector<float>& bias, float eps, TensorView<const float, 2> dy,
                             TensorView<float, 2> dx) const {
  const int64_t n = static_cast<int64_t>(weight.size());
  const auto sums = b.sums.Slice(0, 2 * n);
  Zero(sums);
  ForPieces(pass.pool, dy.dim(0), [&](int64_t piece, int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      pass.kernels.layer_norm_grad(x[r].data(), weight.data(), dy[r].data(), n, eps, dx[r].data(), sums[piece].data(),
                                   sums[piece].data() + n);
  });
  for (int64_t piece = 0; piece < kGradPieces; ++piece) {
    pass.kernels.axpy(1.0f, sums[piece].data(), n, Of(weight));
    pass.kernels.axpy(1.0f, sums[piece].data() + n, n, Of(bias));
  }
}

}  // namespace minke
