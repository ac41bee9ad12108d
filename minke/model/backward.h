// What the steps of a backward pass share. Private to the model room; the equations are in docs/training.md.
#pragma once

#include <cstdint>
#include <span>

#include "minke/model/learner.h"
#include "minke/model/pass.h"

namespace minke {

// Rows are cut into this many pieces, each with sums of its own, which are then added in order: the same bits on any
// number of threads.
inline constexpr int64_t kGradPieces = 8;

// Buffers for gradients of activations, shared by all layers.
struct BackwardScratch {
  BackwardScratch(Arena& arena, const ModelConfig& c, const LearnerOptions& o, int num_threads);

  TensorView<float, 2> d_x, d_norm;       // [tokens, D]: of the residual stream; of a block's normed input
  TensorView<float, 2> d_hidden;          // [tokens, D]: of model.norm's output
  TensorView<float, 2> d_attention_out;   // [tokens, H * dv]
  TensorView<float, 3> d_o_latent;        // [tokens, H, rc]
  TensorView<float, 3> d_q_latent;        // [tokens, H, rc + dr]
  TensorView<float, 2> d_q;               // [tokens, H * (dn + dr)]
  TensorView<float, 2> d_q_a, d_q_a_raw;  // [tokens, q_lora_rank]
  TensorView<float, 3> d_rows;            // [kGradPieces, tokens, rc + dr]
  TensorView<float, 2> d_kv_a;            // [tokens, rc + dr]
  TensorView<float, 2> sin_back;          // [tokens, dr / 2]: -sin
  TensorView<float, 2> attend_scratch;    // [threads, AttendLatentGradScratch]
  TensorView<float, 2> p;                 // [threads, longest selection]
  TensorView<float, 2> sums;              // [kGradPieces, 2 * widest vector]
  // Indexer.
  TensorView<float, 2> index_q, d_index_q;    // [tokens, HI * dI]
  TensorView<float, 2> index_w, d_index_w;    // [tokens, HI]
  TensorView<float, 2> index_k_raw, index_k;  // [tokens, dI]
  TensorView<float, 3> d_index_k;             // [kGradPieces, tokens, dI]
  TensorView<float, 2> d_index_k_raw;         // [tokens, dI]
  TensorView<float, 2> index_scratch;         // [threads, IndexGradScratch]
  std::span<double> kl;                       // [kGradPieces]
  // FFN.
  TensorView<float, 2> d_h, h, d_gate, d_up;            // [tokens, widest MLP]
  TensorView<float, 2> expert_x, expert_dy, expert_dx;  // [tokens, D]: rows of one expert
  TensorView<float, 2> d_expert_weights;                // [tokens, num_experts_per_tok]
  TensorView<float, 2> d_router;                        // [tokens, E]
  std::span<float> balance_f;                           // [E]
  // MTP.
  TensorView<float, 2> d_mtp_in;  // [tokens, 2 * D]
};

struct BackwardPass {
  const Pass& pass;  // of the layer: its kept scratch
  BackwardScratch& b;
  const Parameters& parameters;
  float* gradients;
  const BackwardOptions& options;
  BackwardLosses& losses;

  float* Of(const WeightView& w) const { return gradients + parameters.OffsetOf(w.data); }
  float* Of(const std::vector<float>& v) const { return gradients + parameters.OffsetOf(v); }

  // y = x W^T: dx += dy W, dW += dy^T x. An empty dx stops there.
  void Linear(TensorView<const float, 2> x, const WeightView& w, TensorView<const float, 2> dy,
              TensorView<float, 2> dx) const {
    LinearInput(w, dy, dx);
    LinearWeight(x, w, dy);
  }
  void LinearInput(const WeightView& w, TensorView<const float, 2> dy, TensorView<float, 2> dx) const;
  void LinearWeight(TensorView<const float, 2> x, const WeightView& w, TensorView<const float, 2> dy) const;
  // The bias of such a product, where it has one.
  void Bias(const std::vector<float>& bias, TensorView<const float, 2> dy) const;
  // y = rmsnorm(x): dx += ..., dweight += ...
  void RmsNorm(TensorView<const float, 2> x, const std::vector<float>& weight, float eps, TensorView<const float, 2> dy,
               TensorView<float, 2> dx) const;
  void LayerNorm(TensorView<const float, 2> x, const std::vector<float>& weight, const std::vector<float>& bias,
                 float eps, TensorView<const float, 2> dy, TensorView<float, 2> dx) const;
};

void Zero(TensorView<float, 2> x);
// Calls f(piece, begin, end, worker) for the pieces of [0, n), on all threads.
template <class F>
void ForPieces(ThreadPool& pool, int64_t n, F&& f) {
  pool.Run(kGradPieces, [&](int64_t piece, int worker) {
    const int64_t begin = n * piece / kGradPieces, end = n * (piece + 1) / kGradPieces;
    if (begin < end) f(piece, begin, end, worker);
  });
}

// The way back through a layer's parts. dy is the gradient of what the part added to the residual stream, dx that of
// its normed input, which starts from zero.
void AttentionBackward(const BackwardPass& back, const LayerWeights& w, int64_t layer,
                       TensorView<const float, 2> x_norm, TensorView<const float, 2> dy, TensorView<float, 2> dx);
void FfnBackward(const BackwardPass& back, const LayerWeights& w, int64_t layer, TensorView<const float, 2> x_norm,
                 TensorView<const float, 2> dy, TensorView<float, 2> dx);
// The indexer's q, w and k of all rows, before its loss; and after it its weights.
void IndexerForward(const BackwardPass& back, const LayerWeights& w, TensorView<const float, 2> x_norm);
void IndexerBackward(const BackwardPass& back, const LayerWeights& w, TensorView<const float, 2> x_norm);

}  // namespace minke
