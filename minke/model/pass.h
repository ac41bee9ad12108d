// What one forward pass carries from step to step: the batch as flat rows, the scratch, and the few helpers
// that every step uses. Private to the model room.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "minke/base/thread_pool.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/cache_view.h"
#include "minke/model/config.h"
#include "minke/model/expert_cache.h"
#include "minke/model/forward.h"
#include "minke/model/rope.h"
#include "minke/model/split.h"
#include "minke/model/weights.h"
#include "minke/tensor/arena.h"

namespace minke {

// Every activation buffer, sized once for the largest batch. [tokens] below is max_batch_tokens.
struct Scratch {
  Scratch(Arena& arena, const Model& model, const ForwardOptions& o, int num_threads);

  // The batch, one entry a row.
  std::span<int64_t> pos;
  std::span<float* const*> pages;
  TensorView<float, 2> cos, sin;  // [tokens, qk_rope_head_dim / 2]

  TensorView<float, 2> x, x_norm, hidden;  // [tokens, D]: residual stream, normalised input, after model.norm
  TensorView<float, 2> block_out;          // [tokens, D]: what attention or the FFN adds to x
  // Attention.
  TensorView<float, 2> q_a;                 // [tokens, q_lora_rank], empty without compression
  TensorView<float, 2> q;                   // [tokens, H * (dn + dr)]
  TensorView<float, 2> kv_a;                // [tokens, rc + dr]
  TensorView<float, 3> q_latent, o_latent;  // [kAttentionTile, H, rc + dr], [kAttentionTile, H, rc]
  TensorView<float, 2> attention_out;       // [tokens, H * dv]
  TensorView<float, 2> attend_scratch;      // [threads, AttendLatentScratch]
  // Expanded form only.
  TensorView<float, 2> kv_b;                      // [kPageTokens, H * (dn + dv)]
  TensorView<float, 3> k_expanded;                // [kPageTokens, H, dn + dr]
  TensorView<float, 2> running_max, running_sum;  // [tokens, H]
  // Indexer.
  TensorView<float, 2> index_q, index_w, index_k;  // [tokens, HI * dI], [tokens, HI], [tokens, dI]
  TensorView<uint8_t, 2> index_codes;              // [tokens, HI * dI], for index keys in kInt8 only
  TensorView<float, 2> index_scores;               // [threads, max_context]
  TensorView<int32_t, 2> topk;                     // [tokens, index_topk], ascending
  std::span<int32_t> num_selected;                 // [tokens]; kSelectsAll: every visible position, topk not filled
  // FFN.
  TensorView<float, 2> gate, up;                 // [tokens, widest MLP]
  TensorView<float, 2> router_scores;            // [tokens, E]
  TensorView<float, 2> route_scratch;            // [threads, E]
  TensorView<int32_t, 2> experts;                // [tokens, num_experts_per_tok], ascending
  TensorView<float, 2> expert_weights;           // same
  TensorView<int32_t, 2> expert_begin;           // [threads, E + 1]: where an expert's rows start in expert_rows
  std::span<int32_t> expert_rows, expert_slots;  // [tokens * num_experts_per_tok]
  TensorView<float, 2> expert_in, expert_out;    // [tokens, D]; expert_out has more rows when experts stream
  TensorView<int32_t, 2> next_experts;           // [tokens, num_experts_per_tok]: a guess, when experts stream
  TensorView<float, 2> next_expert_weights;      // same
  TensorView<int32_t, 2> expert_list;            // [threads, E]: those that are needed
  // Head.
  std::span<int32_t> logit_rows;          // [max_logit_rows]
  TensorView<float, 2> logit_in, logits;  // [max_logit_rows, D], [max_logit_rows, vocab]
  TensorView<float, 2> mtp_in;            // [tokens, 2 * D]
  // Weights in tiles only: x as codes.
  TensorView<TileX, 2> linear_x;  // [rows, column tiles] of one Linear at most, shared by the workers
  TensorView<TileX, 2> task_x;    // [threads, kAttentionTile * column tiles of kv_lora_rank]
  // With `keeps`, what a backward pass needs stays (learner.h): q_latent and o_latent have a row for each token; gate
  // and up have [tokens] of the dense or shared MLP, then one for each row of the experts.
  bool keeps = false;
  TensorView<float, 2> q_a_raw, kv_a_raw;  // as q_a and kv_a, before their norms
  TensorView<float, 2> activated;          // [tokens, widest MLP]: silu(gate) * up of one MLP

  // The part of rows [begin, end), at most kAttentionTile in all parts together, for one thread of several that work
  // on rows of their own. Not for the head, and not for the expanded form.
  Scratch Part(int64_t begin, int64_t end, int64_t thread) const;
};

inline constexpr int32_t kSelectsAll = -1;

struct Pass {
  const ModelConfig& c;
  const ForwardOptions& options;
  const CacheLayout& layout;
  const KernelSet& kernels;
  ThreadPool& pool;
  Scratch& s;
  float softmax_scale;
  ForwardStats& stats;
  TapSink* taps;
  std::span<const BatchItem> items;
  int64_t num_rows = 0;
  int64_t num_logit_rows = 0;
  ExpertCache* expert_cache = nullptr;             // null: the experts' weights are in LayerWeights
  bool given_topk = false, given_experts = false;  // s.topk with num_selected, or s.experts, are there already

  bool selects() const { return c.has_indexer() && options.attention == Attention::kDsa; }
  PagedRows Latents(int64_t layer, int64_t row) const {
    return {s.pages[static_cast<size_t>(row)], layout.latent_offset(layer), layout.latent_width(), kPageTokens,
            layout.formats.latents};
  }
  PagedRows IndexKeys(int64_t layer, int64_t row) const {
    return {s.pages[static_cast<size_t>(row)], layout.index_offset(layer), layout.index_width(), kPageTokens,
            layout.formats.index_keys};
  }
  void Tap(std::string_view name, int64_t layer, TensorView<const float, 2> rows) const {
    if (taps) taps->Floats(name, layer, rows);
  }

  // The same on one thread, with scratch and statistics of its own: for a task of the pool.
  Pass Alone(Scratch& own, ForwardStats& own_stats) const;
  // y[rows, W.rows] = x W^T inside a task of `worker`: at most kAttentionTile rows of kv_lora_rank floats.
  void SmallLinear(const float* x, int64_t x_stride, int64_t rows, const WeightView& w, float* y, int64_t y_stride,
                   int worker) const;
  // y[rows, W.rows] = x W^T (+ bias). Several products of the same x go as one: x is quantised once, and threads meet
  // once.
  struct Product {
    const WeightView& w;
    TensorView<float, 2> y;
    std::span<const float> bias = {};
  };
  void Linear(TensorView<const float, 2> x, std::span<const Product> products) const;
  void Linear(TensorView<const float, 2> x, const WeightView& w, TensorView<float, 2> y,
              std::span<const float> bias = {}) const;
  // y = rmsnorm(x) row by row; y may be x.
  void RmsNorm(TensorView<const float, 2> x, std::span<const float> weight, float eps, TensorView<float, 2> y) const;
  void AddTo(TensorView<float, 2> x, TensorView<const float, 2> y) const;  // x += y

 private:
  // Columns [begin, end) of y, for x that is quantised already where W is in tiles.
  void Rows(TensorView<const float, 2> x, const Product& product, int64_t begin, int64_t end) const;
};

inline constexpr int64_t kCachedRowsGrain = 16;  // of a range of rows to normalise, rotate and pack
inline constexpr float kLatentNormEps = 1e-6f;   // q_a and kv_a norms, whatever rms_norm_eps says (transformers)
inline constexpr float kIndexNormEps = 1e-6f;    // of index keys, likewise

// The rows of kv_b_proj that make one head's keys, and those that make its values.
inline WeightView KeyRows(const ModelConfig& c, const LayerWeights& w, int64_t head) {
  const int64_t first = head * (c.qk_nope_head_dim + c.v_head_dim);
  return w.kv_b_proj.Rows(first, first + c.qk_nope_head_dim);
}
inline WeightView ValueRows(const ModelConfig& c, const LayerWeights& w, int64_t head) {
  const int64_t first = head * (c.qk_nope_head_dim + c.v_head_dim) + c.qk_nope_head_dim;
  return w.kv_b_proj.Rows(first, first + c.v_head_dim);
}

// The steps of a decoder layer. Each reads s.x_norm; attention and FFN write s.block_out.
// What the layer's cache keeps of the rows. Once it is there, attention runs; for all of the rows or some of them.
void CacheRows(const Pass& pass, const LayerWeights& w, int64_t layer);
void RunAttention(const Pass& pass, const LayerWeights& w, int64_t layer);
// The indexer's share of both. SelectKeys fills s.topk / s.num_selected; a "shared" layer keeps the earlier sets.
void CacheIndexKeys(const Pass& pass, const LayerWeights& w, int64_t layer);
void SelectKeys(const Pass& pass, const LayerWeights& w, int64_t layer);
void RunFfn(const Pass& pass, const LayerWeights& w, int64_t layer);
// With an expert cache: starts to read the experts that a MoE layer would choose if its FFN read s.x, the residual
// stream of an earlier layer. Uses expert_in and router_scores.
void PrefetchExperts(const Pass& pass, const LayerWeights& w, int64_t layer);

}  // namespace minke
