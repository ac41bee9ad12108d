// The checkpoint's tensors under the checkpoint's names. Matrices are views into the mapped files; norms,
// biases and converted block scales are small and owned here.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "minke/base/result.h"
#include "minke/model/config.h"
#include "minke/tensor/checkpoint.h"
#include "minke/tensor/weight_view.h"

namespace minke {

struct MlpWeights {
  WeightView gate_proj, up_proj;  // [width, D]
  WeightView down_proj;           // [D, width]
};

struct LayerWeights {
  std::vector<float> input_layernorm, post_attention_layernorm;  // [D]
  // self_attn: MLA. q_proj when q_lora_rank is 0, else q_a_proj and q_b_proj.
  WeightView q_proj, q_a_proj, q_b_proj, kv_a_proj_with_mqa, kv_b_proj, o_proj;
  std::vector<float> q_a_layernorm, kv_a_layernorm;
  std::vector<float> q_a_proj_bias, kv_a_proj_with_mqa_bias, o_proj_bias;  // empty unless attention_bias
  // self_attn.indexer; layers with their own indexer only.
  WeightView indexer_wq_b, indexer_wk, indexer_weights_proj;
  std::vector<float> indexer_k_norm_weight, indexer_k_norm_bias;
  // mlp: dense, or a router with experts.
  MlpWeights mlp, shared_experts;
  WeightView gate;                             // [E, D]
  std::vector<float> e_score_correction_bias;  // [E], noaux_tc only
  std::vector<MlpWeights> experts;

  // The only list of names. Calls f.Matrix(name, view, rows, cols) and f.Vector(name, floats, size) for every
  // tensor that `c` calls for in layer `layer`; names stand behind "model.layers.{layer}.".
  template <class F>
  void ForEachTensor(const ModelConfig& c, int64_t layer, F&& f);
};

struct MtpWeights {
  WeightView embed_tokens, eh_proj, head;  // [vocab, D], [D, 2D], [vocab, D]
  std::vector<float> enorm, hnorm, shared_head_norm;
};

struct ModelWeights {
  WeightView embed_tokens, lm_head;  // [vocab, D]
  std::vector<float> norm;
  std::vector<LayerWeights> layers;  // the MTP layer last, if `mtp`
  std::unique_ptr<MtpWeights> mtp;
  std::vector<std::string> unused;                  // tensors that the configuration does not call for
  std::deque<std::vector<float>> converted_scales;  // block scales stored as BF16 or E8M0, as F32

  // The only list of all tensors: those of LayerWeights and the ones beside the layers. f.Enter(prefix) precedes the
  // tensors whose names stand behind `prefix`; f.Has(name) says whether an optional one is there.
  template <class F>
  void ForEachTensor(const ModelConfig& c, F&& f);
};

// Row scales of NAME, a matrix in tiles (U8 [row tiles, column tiles, TileBytes]): NAME_row_scales, F32 [row tiles, 2,
// 16].
inline constexpr std::string_view kRowScalesSuffix = "_row_scales";
// Whether kv_b_proj may be in tiles: each head's keys and values begin at a row tile.
constexpr bool HeadsAreTiles(const ModelConfig& c) {
  return c.qk_nope_head_dim % kTileRows == 0 && c.v_head_dim % kTileRows == 0;
}

// Finds every tensor, checks shape and dtype, and the scales of FP8 blocks. Errors name the tensor, its file,
// and what was expected: kDamaged, or kUnsupported for a dtype that no kernel reads.
Result<ModelWeights> LoadWeights(const ModelConfig& config, const Checkpoint& checkpoint);

template <class F>
void LayerWeights::ForEachTensor(const ModelConfig& c, int64_t layer, F&& f) {
  const int64_t d = c.hidden_size, heads = c.num_attention_heads;
  f.Vector("input_layernorm.weight", input_layernorm, d);
  f.Vector("post_attention_layernorm.weight", post_attention_layernorm, d);
  if (c.q_lora_rank == 0) {
    f.Matrix("self_attn.q_proj.weight", q_proj, heads * c.qk_head_dim(), d);
  } else {
    f.Matrix("self_attn.q_a_proj.weight", q_a_proj, c.q_lora_rank, d);
    if (c.attention_bias) f.Vector("self_attn.q_a_proj.bias", q_a_proj_bias, c.q_lora_rank);
    f.Vector("self_attn.q_a_layernorm.weight", q_a_layernorm, c.q_lora_rank);
    f.Matrix("self_attn.q_b_proj.weight", q_b_proj, heads * c.qk_head_dim(), c.q_lora_rank);
  }
  f.Matrix("self_attn.kv_a_proj_with_mqa.weight", kv_a_proj_with_mqa, c.latent_dim(), d);
  if (c.attention_bias) f.Vector("self_attn.kv_a_proj_with_mqa.bias", kv_a_proj_with_mqa_bias, c.latent_dim());
  f.Vector("self_attn.kv_a_layernorm.weight", kv_a_layernorm, c.kv_lora_rank);
  f.Matrix("self_attn.kv_b_proj.weight", kv_b_proj, heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank);
  f.Matrix("self_attn.o_proj.weight", o_proj, d, heads * c.v_head_dim);
  if (c.attention_bias) f.Vector("self_attn.o_proj.bias", o_proj_bias, d);
  if (c.has_own_indexer[static_cast<size_t>(layer)]) {
    f.Matrix("self_attn.indexer.wq_b.weight", indexer_wq_b, c.index_n_heads * c.index_head_dim, c.q_lora_rank);
    f.Matrix("self_attn.indexer.wk.weight", indexer_wk, c.index_head_dim, d);
    f.Vector("self_attn.indexer.k_norm.weight", indexer_k_norm_weight, c.index_head_dim);
    f.Vector("self_attn.indexer.k_norm.bias", indexer_k_norm_bias, c.index_head_dim);
    f.Matrix("self_attn.indexer.weights_proj.weight", indexer_weights_proj, c.index_n_heads, d);
  }
  const auto mlp_tensors = [&](const std::string& name, MlpWeights& w, int64_t width) {
    f.Matrix(name + ".gate_proj.weight", w.gate_proj, width, d);
    f.Matrix(name + ".up_proj.weight", w.up_proj, width, d);
    f.Matrix(name + ".down_proj.weight", w.down_proj, d, width);
  };
  if (!c.is_moe_layer[static_cast<size_t>(layer)]) {
    mlp_tensors("mlp", mlp, c.intermediate_size);
    return;
  }
  f.Matrix("mlp.gate.weight", gate, c.n_routed_experts, d);
  if (c.topk_method == TopkMethod::kNoauxTc)
    f.Vector("mlp.gate.e_score_correction_bias", e_score_correction_bias, c.n_routed_experts);
  experts.resize(static_cast<size_t>(c.n_routed_experts));
  for (size_t e = 0; e < experts.size(); ++e)
    mlp_tensors("mlp.experts." + std::to_string(e), experts[e], c.moe_intermediate_size);
  if (c.n_shared_experts > 0)
    mlp_tensors("mlp.shared_experts", shared_experts, c.moe_intermediate_size * c.n_shared_experts);
}

template <class F>
void ModelWeights::ForEachTensor(const ModelConfig& c, F&& f) {
  const int64_t vocab = c.vocab_size, d = c.hidden_size, n = c.num_hidden_layers;
  f.Enter("");
  f.Matrix("model.embed_tokens.weight", embed_tokens, vocab, d);
  f.Vector("model.norm.weight", norm, d);
  if (c.tie_word_embeddings) {
    lm_head = embed_tokens;
  } else {
    f.Matrix("lm_head.weight", lm_head, vocab, d);
  }
  const auto prefix = [](int64_t layer) { return "model.layers." + std::to_string(layer) + "."; };
  f.Enter(prefix(n));
  // A configuration may promise an MTP layer that the files leave out; eh_proj decides.
  const bool has_mtp = c.num_nextn_predict_layers > 0 && f.Has("eh_proj.weight");
  layers.resize(static_cast<size_t>(n + (has_mtp ? 1 : 0)));
  for (size_t i = 0; i < layers.size(); ++i) {
    f.Enter(prefix(static_cast<int64_t>(i)));
    layers[i].ForEachTensor(c, static_cast<int64_t>(i), f);
  }
  if (!has_mtp) return;
  if (!mtp) mtp = std::make_unique<MtpWeights>();
  f.Vector("enorm.weight", mtp->enorm, d);
  f.Vector("hnorm.weight", mtp->hnorm, d);
  f.Matrix("eh_proj.weight", mtp->eh_proj, d, 2 * d);
  f.Vector("shared_head.norm.weight", mtp->shared_head_norm, d);
  // Copies of the main model's, or missing.
  if (f.Has("embed_tokens.weight")) {
    f.Matrix("embed_tokens.weight", mtp->embed_tokens, vocab, d);
  } else {
    mtp->embed_tokens = embed_tokens;
  }
  if (f.Has("shared_head.head.weight")) {
    f.Matrix("shared_head.head.weight", mtp->head, vocab, d);
  } else {
    mtp->head = lm_head;
  }
}

}  // namespace minke
