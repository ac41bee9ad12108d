#include "minke/model/gguf_config.h"

#include <algorithm>
#include <cmath>

namespace minke {
namespace {

constexpr int64_t kSoftmax = 1, kSigmoid = 2;   // expert_gating_func; 0 is the family's own
constexpr int64_t kSharingContext = 1'048'576;  // glm-dsa: from here on layers share their indexers
constexpr int64_t kMaxInt = int64_t{1} << 40;   // beyond any count, so that sums and differences cannot overflow
constexpr int64_t kMaxLayers = 1 << 14;         // before lists of that length are copied

// Keys of llama.cpp that would change the equations, and the value with which they do not.
struct NeutralKey {
  std::string_view name;
  double neutral;
};
constexpr NeutralKey kNeutralKeys[] = {
    {"attention.temperature_scale", 0},
    {"attention.temperature_length", 0},
    {"attention.scale", 0},
    {"attention.output_scale", 1},
    {"attention.clamp_kqv", 0},
    {"attention.max_alibi_bias", 0},
    {"attention.sliding_window", 0},
    {"attention.causal", 1},
    {"attn_logit_softcapping", 0},
    {"final_logit_softcapping", 0},
    {"router_logit_softcapping", 0},
    {"logit_scale", 1},
    {"residual_scale", 1},
    {"embedding_scale", 1},
    {"expert_group_scale", 1},
    {"interleave_moe_layer_step", 1},
    {"rope.scale_linear", 1},
    {"rope.scaling.attn_factor", 1},
    {"rope.scaling.yarn_ext_factor", 1},
    {"rope.scaling.yarn_attn_factor", 1},
    {"swiglu_clamp_exp", 0},
    {"swiglu_clamp_shexp", 0},
    {"use_parallel_residual", 0},
};

// Reads "ARCH.key"; the first problem stays in `status`.
class ArchKeys {
 public:
  ArchKeys(const GgufMetadata& metadata, std::string_view arch, std::string_view where)
      : metadata_(metadata), arch_(arch), where_(where) {}

  Status status = {};

  std::string Key(std::string_view name) const { return fmt::format("{}.{}", arch_, name); }
  bool Has(std::string_view name) const { return metadata_.Has(Key(name)); }

  // An absent key leaves `json` without the field.
  void Int(Json& json, const char* field, std::string_view name) {
    const auto value = metadata_.Int(Key(name));
    const bool meant = value && *value >= 0 && *value <= kMaxInt;
    if (Has(name)) Set(json, field, name, meant ? value : std::nullopt, "an integer from 0 to 2^40");
  }
  void Number(Json& json, const char* field, std::string_view name) {
    const auto value = metadata_.Number(Key(name));
    if (Has(name)) Set(json, field, name, value && std::isfinite(*value) ? value : std::nullopt, "a finite number");
  }
  void RequiredInt(Json& json, const char* field, std::string_view name) {
    if (!Has(name)) return Refuse(name, "is missing");
    Int(json, field, name);
  }
  int64_t IntOr(std::string_view name, int64_t absent) {
    Json json;
    Int(json, "value", name);
    return json.is_object() ? json["value"].get<int64_t>() : absent;
  }
  bool BoolOr(std::string_view name, bool absent) {
    const auto value = metadata_.Bool(Key(name));
    if (Has(name) && !value) Refuse(name, "is neither true nor false");
    return value.value_or(absent);
  }
  void Neutral(const NeutralKey& key) {
    if (Has(key.name) && metadata_.Number(Key(key.name)) != key.neutral)
      Refuse(key.name, fmt::format("is not {}, and minke does not compute what it asks for", key.neutral),
             Code::kUnsupported);
  }

  void Refuse(std::string_view name, std::string_view problem, Code code = Code::kDamaged) {
    if (status) status = Fail(code, "{}: {} {}", where_, Key(name), problem);
  }

 private:
  template <class T>
  void Set(Json& json, const char* field, std::string_view name, const std::optional<T>& value, const char* kind) {
    if (!value) return Refuse(name, fmt::format("is not {}", kind));
    json[field] = *value;
  }

  const GgufMetadata& metadata_;
  std::string_view arch_, where_;
};

void ReadRope(ArchKeys& keys, const GgufMetadata& metadata, Json& config) {
  keys.Number(config, "rope_theta", "rope.freq_base");
  const auto type = metadata.String(keys.Key("rope.scaling.type"));
  if (!type && keys.Has("rope.scaling.type")) return keys.Refuse("rope.scaling.type", "is not a string");
  if (!type || *type == "none") return;
  Json scaling = {{"type", NameForMessage(*type)}};
  keys.Number(scaling, "factor", "rope.scaling.factor");
  keys.Int(scaling, "original_max_position_embeddings", "rope.scaling.original_context_length");
  keys.Number(scaling, "beta_fast", "rope.scaling.yarn_beta_fast");
  keys.Number(scaling, "beta_slow", "rope.scaling.yarn_beta_slow");
  // The converters write a tenth of mscale_all_dim, and mscale nowhere: every release has both the same, so that
  // cosines and sines keep their length and only the scale of the softmax grows.
  Json log_multiplier;
  keys.Number(log_multiplier, "value", "rope.scaling.yarn_log_multiplier");
  if (log_multiplier.is_object()) {
    const double mscale = std::round(log_multiplier["value"].get<double>() * 1e7) / 1e6;
    scaling["mscale"] = scaling["mscale_all_dim"] = mscale;
  } else {
    scaling["attention_factor"] = 1;
  }
  config["rope_scaling"] = std::move(scaling);
}

void ReadExperts(ArchKeys& keys, bool v2, const Json& layers, Json& config) {
  const int64_t experts = keys.IntOr("expert_count", 0);
  config["n_routed_experts"] = experts;
  config["first_k_dense_replace"] = keys.IntOr("leading_dense_block_count", 0);
  if (experts == 0) {
    config["first_k_dense_replace"] = layers;
    return;
  }
  keys.RequiredInt(config, "num_experts_per_tok", "expert_used_count");
  keys.RequiredInt(config, "moe_intermediate_size", "expert_feed_forward_length");
  config["n_shared_experts"] = keys.IntOr("expert_shared_count", 0);
  config["n_group"] = std::max<int64_t>(keys.IntOr("expert_group_count", 1), 1);
  config["topk_group"] = std::max<int64_t>(keys.IntOr("expert_group_used_count", 1), 1);
  config["scoring_func"] = v2 ? "softmax" : "sigmoid";
  config["topk_method"] = !v2 ? "noaux_tc" : config["n_group"] > 1 ? "group_limited_greedy" : "greedy";
  config["norm_topk_prob"] = keys.BoolOr("expert_weights_norm", false);
  config["routed_scaling_factor"] = 1;
  keys.Number(config, "routed_scaling_factor", "expert_weights_scale");
  if (config["routed_scaling_factor"] == 0) config["routed_scaling_factor"] = 1;  // llama.cpp's "not scaled"
}

void ReadIndexer(ArchKeys& keys, const GgufMetadata& metadata, bool glm, int64_t layers, int64_t mtp, Json& config) {
  keys.RequiredInt(config, "index_n_heads", "attention.indexer.head_count");
  keys.RequiredInt(config, "index_head_dim", "attention.indexer.key_length");
  keys.RequiredInt(config, "index_topk", "attention.indexer.top_k");
  if (!glm) return;
  constexpr std::string_view kTypes = "attention.indexer.types";
  if (!keys.Has(kTypes)) {
    // Files of GLM-5.2 from before the key existed; llama.cpp tells them from GLM-5 by the context.
    if (config.value("max_position_embeddings", int64_t{0}) >= kSharingContext)
      config["index_topk_freq"] = 4, config["index_skip_topk_offset"] = 3;
    return;
  }
  const int64_t count = metadata.Count(keys.Key(kTypes));  // judged before it is copied
  const auto full = count < layers || count > layers + mtp ? std::nullopt : metadata.Ints(keys.Key(kTypes));
  if (!full) return keys.Refuse(kTypes, fmt::format("is not a list of {} values, one for each layer", layers));
  Json types = Json::array();
  for (int64_t i = 0; i < layers; ++i) types.push_back((*full)[static_cast<size_t>(i)] ? "full" : "shared");
  config["indexer_types"] = std::move(types);
}

void ReadTokens(const GgufMetadata& metadata, Json& config) {
  const auto id = [&](const char* name) {
    const auto value = metadata.Int(fmt::format("tokenizer.ggml.{}_token_id", name));
    return value && *value >= 0 && *value < config["vocab_size"].get<int64_t>() ? Json(*value) : Json();
  };
  config["bos_token_id"] = id("bos");
  // Whatever ends an answer: text, turn, message.
  Json ends = Json::array();
  for (const char* name : {"eos", "eot", "eom"})
    if (const Json end = id(name); !end.is_null() && std::find(ends.begin(), ends.end(), end) == ends.end())
      ends.push_back(end);
  config["eos_token_id"] = ends.empty() ? Json() : ends.size() == 1 ? ends[0] : ends;
}

}  // namespace

Result<Json> ConfigOfGguf(const GgufMetadata& metadata, const GgufTensorFacts& facts, std::string_view where) {
  const auto arch = metadata.String("general.architecture");
  if (!arch) return Fail(Code::kDamaged, "{}: general.architecture is missing", where);
  const bool deepseek2 = *arch == "deepseek2", glm = *arch == "glm-dsa", v32 = *arch == "deepseek32";
  if (!deepseek2 && !glm && !v32)
    return Fail(Code::kUnsupported, "{}: general.architecture is \"{}\"; minke runs deepseek2, deepseek32 and glm-dsa",
                where, NameForMessage(*arch));
  ArchKeys keys(metadata, *arch, where);
  for (const NeutralKey& key : kNeutralKeys) keys.Neutral(key);
  const int64_t own = facts.has_correction || !deepseek2 ? kSigmoid : kSoftmax,
                stated = keys.IntOr("expert_gating_func", 0);
  const int64_t gating = stated == 0 ? own : stated;
  if (gating != kSigmoid && gating != own)
    keys.Refuse("expert_gating_func",
                fmt::format("is {}, expected {}: minke computes no other router here", gating, own),
                Code::kUnsupported);
  const bool v2 = deepseek2 && gating == kSoftmax;

  Json c = {{"model_type", v32   ? "deepseek_v32"
                           : glm ? "glm_moe_dsa"
                           : v2  ? "deepseek_v2"
                                 : "deepseek_v3"},
            {"architectures",
             {v32   ? "DeepseekV32ForCausalLM"
              : glm ? "GlmMoeDsaForCausalLM"
              : v2  ? "DeepseekV2ForCausalLM"
                    : "DeepseekV3ForCausalLM"}},
            {"hidden_act", "silu"},
            {"attention_bias", false},
            {"tie_word_embeddings", !facts.has_output}};
  // Blocks count the MTP layer.
  const int64_t mtp = keys.IntOr("nextn_predict_layers", 0), layers = keys.IntOr("block_count", 0) - mtp;
  if (layers < 1 || layers > kMaxLayers)
    keys.Refuse("block_count", fmt::format("is missing, not more than nextn_predict_layers, or above {}", kMaxLayers));
  c["num_hidden_layers"] = layers;
  c["num_nextn_predict_layers"] = mtp;
  c["vocab_size"] = facts.vocab_size;
  keys.RequiredInt(c, "hidden_size", "embedding_length");
  keys.Int(c, "intermediate_size", "feed_forward_length");
  keys.RequiredInt(c, "num_attention_heads", "attention.head_count");
  keys.RequiredInt(c, "max_position_embeddings", "context_length");
  keys.Number(c, "rms_norm_eps", "attention.layer_norm_rms_epsilon");

  c["q_lora_rank"] = nullptr;
  keys.Int(c, "q_lora_rank", "attention.q_lora_rank");
  keys.RequiredInt(c, "kv_lora_rank", "attention.kv_lora_rank");
  keys.RequiredInt(c, "qk_rope_head_dim", "rope.dimension_count");
  const bool mla = facts.has_split_kv_b || keys.Has("attention.key_length_mla");
  const char* key_length = mla ? "attention.key_length_mla" : "attention.key_length";
  Json key;
  keys.RequiredInt(key, "length", key_length);
  keys.RequiredInt(c, "v_head_dim", mla ? "attention.value_length_mla" : "attention.value_length");
  if (!keys.status) return Fail(keys.status.error());
  const int64_t nope = key["length"].get<int64_t>() - c["qk_rope_head_dim"].get<int64_t>();
  if (nope < 1) keys.Refuse(key_length, "is not more than rope.dimension_count");
  c["qk_nope_head_dim"] = nope;

  ReadExperts(keys, v2, c["num_hidden_layers"], c);
  if (!deepseek2) ReadIndexer(keys, metadata, glm, layers, mtp, c);
  ReadRope(keys, metadata, c);
  ReadTokens(metadata, c);
  MINKE_TRY(keys.status);
  return c;
}

}  // namespace minke
