#include "minke/model/gguf_names.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <utility>

namespace minke {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;  // GGUF, checkpoint

constexpr std::string_view kGgufLayer = "blk.", kLayer = "model.layers.";

constexpr std::array<Pair, 3> kModelNames = {{
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
}};

// Behind "blk.N." and "model.layers.N.". "{}" is the number of an expert.
constexpr std::array<Pair, 33> kLayerNames = {{
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_q_a.weight", "self_attn.q_a_proj.weight"},
    {"attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight"},
    {"attn_q_b.weight", "self_attn.q_b_proj.weight"},
    {"attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight"},
    {"attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight"},
    {"attn_kv_b.weight", "self_attn.kv_b_proj.weight"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"indexer.attn_q_b.weight", "self_attn.indexer.wq_b.weight"},
    {"indexer.attn_k.weight", "self_attn.indexer.wk.weight"},
    {"indexer.k_norm.weight", "self_attn.indexer.k_norm.weight"},
    {"indexer.k_norm.bias", "self_attn.indexer.k_norm.bias"},
    {"indexer.proj.weight", "self_attn.indexer.weights_proj.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"ffn_gate_inp.weight", "mlp.gate.weight"},
    {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
    {"exp_probs_b", "mlp.gate.e_score_correction_bias"},  // of some older files
    {"ffn_gate_exps.weight", "mlp.experts.{}.gate_proj.weight"},
    {"ffn_up_exps.weight", "mlp.experts.{}.up_proj.weight"},
    {"ffn_down_exps.weight", "mlp.experts.{}.down_proj.weight"},
    {"ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight"},
    {"ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight"},
    {"ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight"},
    {"nextn.eh_proj.weight", "eh_proj.weight"},
    {"nextn.enorm.weight", "enorm.weight"},
    {"nextn.hnorm.weight", "hnorm.weight"},
    {"nextn.embed_tokens.weight", "embed_tokens.weight"},
    {"nextn.shared_head_norm.weight", "shared_head.norm.weight"},
    {"nextn.shared_head_head.weight", "shared_head.head.weight"},
}};

constexpr std::string_view kExpertsBegin = "mlp.experts.";

// "mlp.experts.17.up_proj.weight" -> "mlp.experts.{}.up_proj.weight"; others stay.
std::string WithoutExpert(std::string_view rest) {
  const auto expert = SplitLayerName(rest, kExpertsBegin);
  return expert ? fmt::format("{}{{}}.{}", kExpertsBegin, expert->rest) : std::string(rest);
}

}  // namespace

std::optional<LayerName> SplitLayerName(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  const std::string_view rest = name.substr(prefix.size());
  LayerName split = {};
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), split.layer);
  if (error != std::errc() || split.layer < 0 || end == rest.data() + rest.size() || *end != '.') return std::nullopt;
  if (rest[0] == '0' && end != rest.data() + 1) return std::nullopt;  // one name for one layer
  split.rest = rest.substr(static_cast<size_t>(end - rest.data()) + 1);
  return split;
}

std::optional<CheckpointName> CheckpointNameOf(std::string_view gguf_name) {
  for (const auto& [gguf, name] : kModelNames)
    if (gguf == gguf_name) return CheckpointName{std::string(name)};
  const auto split = SplitLayerName(gguf_name, kGgufLayer);
  if (!split) return std::nullopt;
  for (const auto& [gguf, name] : kLayerNames)
    if (gguf == split->rest)
      return CheckpointName{fmt::format("{}{}.{}", kLayer, split->layer, name), name.starts_with(kExpertsBegin)};
  return std::nullopt;
}

std::optional<std::string> GgufNameOf(std::string_view checkpoint_name) {
  for (const auto& [gguf, name] : kModelNames)
    if (name == checkpoint_name) return std::string(gguf);
  const auto split = SplitLayerName(checkpoint_name, kLayer);
  if (!split) return std::nullopt;
  const std::string rest = WithoutExpert(split->rest);
  for (const auto& [gguf, name] : kLayerNames)
    if (name == rest) return fmt::format("{}{}.{}", kGgufLayer, split->layer, gguf);
  return std::nullopt;
}

}  // namespace minke
