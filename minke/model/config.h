// config.json as the equations need it. Read once, validated once; everything after may trust it.
// Source of fields and defaults: docs/model.md, "Configuration", both dialects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "minke/base/result.h"
#include "minke/base/token_id.h"

namespace minke {

enum class Family { kDeepseekV2, kDeepseekV3, kDeepseekV32, kGlmMoeDsa };
enum class RouterScore { kSoftmax, kSigmoid };
enum class TopkMethod { kGreedy, kGroupLimitedGreedy, kNoauxTc };
enum class RopePairing { kInterleaved, kHalfSplit };  // (2j, 2j+1) or (j, j + dim/2)

// rope_scaling / rope_parameters of type "yarn".
struct YarnScaling {
  double factor = 1;
  double original_max_position_embeddings = 4096;
  double beta_fast = 32, beta_slow = 1;
  double mscale = 0, mscale_all_dim = 0;  // 0 means absent
  std::optional<double> attention_factor;
};

struct ModelConfig {
  Family family = Family::kDeepseekV32;
  std::string model_type;
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, moe_intermediate_size = 0;
  int64_t num_hidden_layers = 0, num_attention_heads = 0;
  int64_t n_routed_experts = 0, n_shared_experts = 0, num_experts_per_tok = 0;
  int64_t n_group = 1, topk_group = 1;
  TopkMethod topk_method = TopkMethod::kGreedy;
  RouterScore scoring_func = RouterScore::kSoftmax;
  bool norm_topk_prob = false;
  float routed_scaling_factor = 1;
  int64_t q_lora_rank = 0;  // 0: no compression, q_proj
  int64_t kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  float rms_norm_eps = 1e-6f;
  int64_t max_position_embeddings = 0;
  bool tie_word_embeddings = false, attention_bias = false;
  double rope_theta = 10000;
  std::optional<YarnScaling> yarn;
  int64_t index_n_heads = 0, index_head_dim = 0, index_topk = 0;  // 0 for families without an indexer
  RopePairing index_rope = RopePairing::kHalfSplit;
  // 0 or 1: only the first MTP layer is used (further ones draft later tokens; no release has them).
  int64_t num_nextn_predict_layers = 0;
  int64_t declared_mtp_layers = 0;  // as config.json says
  std::optional<TokenId> bos_token_id;
  std::vector<TokenId> eos_token_ids;
  std::vector<bool> is_moe_layer;                  // [num_hidden_layers + num_nextn_predict_layers]
  std::vector<bool> has_own_indexer;               // same size; "full" layers of a DSA model
  int64_t fp8_block_rows = 0, fp8_block_cols = 0;  // 0: no FP8 by quantization_config
  bool has_tiles = false;                          // some matrices may be tiles (tensor/tile.h)

  bool has_indexer() const { return index_topk > 0; }
  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  int64_t latent_dim() const { return kv_lora_rank + qk_rope_head_dim; }
};

inline constexpr int64_t kMaxExpertGroups = 256;
inline constexpr int64_t kMaxConfigBytes = 16 << 20;  // of config.json; released files have a few KB

// `text` is the content of config.json, `where` its path. Unknown keys are ignored, null means absent. Numbers are
// bounded such that no product of two dimensions overflows. Errors: kDamaged (wrong type, negative, huge or
// contradictory numbers, each with its field), kUnsupported (another architecture, by name).
Result<ModelConfig> ParseModelConfig(std::string_view text, std::string_view where);

}  // namespace minke
