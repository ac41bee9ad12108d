// libFuzzer: any bytes as config.json. What is accepted must be a model that can be counted without overflow.
#include "minke/base/check.h"
#include "minke/model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = minke::ParseModelConfig({reinterpret_cast<const char*>(data), size}, "input");
  if (!config) {
    MINKE_CHECK(config.error().message.starts_with("input: "));
    MINKE_CHECK(config.error().message.find('\n') == std::string::npos);
    return 0;
  }
  const minke::ModelConfig& c = *config;
  const auto layers = static_cast<size_t>(c.num_hidden_layers + c.num_nextn_predict_layers);
  MINKE_CHECK(c.is_moe_layer.size() == layers && c.has_own_indexer.size() == layers);
  MINKE_CHECK(c.has_indexer() == c.has_own_indexer[0]);
  for (size_t i = 0; i < layers; ++i) {
    if (!c.is_moe_layer[i]) continue;
    MINKE_CHECK(c.num_experts_per_tok >= 1 && c.num_experts_per_tok <= c.n_routed_experts);
    MINKE_CHECK(c.topk_method == minke::TopkMethod::kGreedy || c.n_group == 1 || c.n_routed_experts % c.n_group == 0);
  }
  MINKE_CHECK(c.qk_rope_head_dim % 2 == 0);
  // The largest products that any later code forms; the sanitizer stops at an overflow.
  const int64_t heads = c.num_attention_heads;
  int64_t bytes = heads * c.qk_head_dim() * c.hidden_size * 4;
  bytes += heads * (c.qk_nope_head_dim + c.v_head_dim) * c.kv_lora_rank * 4;
  bytes += c.vocab_size * c.hidden_size * 4 + c.intermediate_size * c.hidden_size * 4;
  bytes += c.moe_intermediate_size * c.n_shared_experts * c.hidden_size * 4;
  bytes += (c.latent_dim() + c.index_head_dim) * static_cast<int64_t>(layers) * c.max_position_embeddings * 4;
  MINKE_CHECK(bytes > 0);
  return 0;
}
