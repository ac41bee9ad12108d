#include "minke/model/config.h"

#include <algorithm>
#include <array>

#include "minke/base/json.h"
#include "minke/model/config_fields.h"

namespace minke {
namespace {

// Bounds: an order of magnitude or more above any release, and small enough that the product of any three, in bytes,
// fits into 63 bits.
constexpr int64_t kMaxVocab = 1 << 24, kMaxHidden = 1 << 20, kMaxWidth = 1 << 22, kMaxLayers = 1024;
constexpr int64_t kMaxHeads = 4096, kMaxHeadDim = 4096, kMaxRank = 1 << 16, kMaxExperts = 1 << 14;
constexpr int64_t kMaxPositions = 1 << 30, kMaxBlock = 1 << 16, kMaxTopk = 1 << 20;

// The table of docs/model.md, "Configuration". Members start as deepseek_v3 has them; the others say what differs.
struct FamilyDefaults {
  Family family = Family::kDeepseekV3;
  const char* model_type = "deepseek_v3";
  int64_t vocab_size = 129280, hidden_size = 7168, intermediate_size = 18432, moe_intermediate_size = 2048;
  int64_t num_hidden_layers = 61, num_attention_heads = 128, max_position_embeddings = 4096;
  int64_t n_routed_experts = 256, n_shared_experts = 1;
  int64_t num_experts_per_tok = 8;  // 0: must be given
  int64_t n_group = 8, topk_group = 4, first_k_dense_replace = 3;
  RouterScore scoring_func = RouterScore::kSigmoid;
  bool norm_topk_prob = true;
  double routed_scaling_factor = 2.5, rms_norm_eps = 1e-6;
  int64_t q_lora_rank = 1536, kv_lora_rank = 512, qk_nope_head_dim = 128, qk_rope_head_dim = 64, v_head_dim = 128;
  int64_t index_n_heads = 0, index_head_dim = 0, index_topk = 0;  // 0: no indexer
  double rope_theta = 10000;                                      // 0: must be given
  int64_t num_nextn_predict_layers = 1;
  int64_t bos_token_id = 0, eos_token_id = 1;  // -1: none
};

constexpr FamilyDefaults DeepseekV2() {
  FamilyDefaults d;
  d.family = Family::kDeepseekV2, d.model_type = "deepseek_v2";
  d.vocab_size = 102400, d.hidden_size = 4096, d.intermediate_size = 11008, d.moe_intermediate_size = 1407;
  d.num_hidden_layers = 32, d.num_attention_heads = 32, d.max_position_embeddings = 2048;
  d.n_routed_experts = 64, d.n_shared_experts = 2, d.num_experts_per_tok = 0;
  d.n_group = 1, d.topk_group = 1, d.first_k_dense_replace = 0;
  d.scoring_func = RouterScore::kSoftmax, d.norm_topk_prob = false, d.routed_scaling_factor = 1;
  d.num_nextn_predict_layers = 0, d.bos_token_id = 1, d.eos_token_id = 2;
  return d;
}

constexpr FamilyDefaults DeepseekV32() {
  FamilyDefaults d;
  d.family = Family::kDeepseekV32, d.model_type = "deepseek_v32";
  d.max_position_embeddings = 163840;
  d.index_n_heads = 64, d.index_head_dim = 128, d.index_topk = 2048;
  return d;
}

constexpr FamilyDefaults GlmMoeDsa() {
  FamilyDefaults d;
  d.family = Family::kGlmMoeDsa, d.model_type = "glm_moe_dsa";
  d.vocab_size = 154880, d.hidden_size = 6144, d.intermediate_size = 12288;
  d.num_hidden_layers = 78, d.num_attention_heads = 64, d.max_position_embeddings = 202752;
  d.n_group = 1, d.topk_group = 1, d.rms_norm_eps = 1e-5;
  d.q_lora_rank = 2048, d.qk_nope_head_dim = 192, d.v_head_dim = 256;
  d.index_n_heads = 32, d.index_head_dim = 128, d.index_topk = 2048;
  d.rope_theta = 0, d.bos_token_id = -1, d.eos_token_id = -1;
  return d;
}

constexpr std::array<FamilyDefaults, 4> kFamilies = {DeepseekV2(), FamilyDefaults{}, DeepseekV32(), GlmMoeDsa()};

Result<const FamilyDefaults*> FindFamily(ConfigFields& fields) {
  if (!fields.Find("model_type")) return Fail(Code::kDamaged, "{}: model_type: is missing", fields.where());
  const std::string type = fields.String("model_type", "");
  MINKE_TRY(fields.status());
  std::vector<std::string_view> known;
  for (const FamilyDefaults& family : kFamilies) {
    if (type == family.model_type) return &family;
    known.push_back(family.model_type);
  }
  return Fail(Code::kUnsupported, "{}: model_type: {} is an architecture minke does not run; it runs {}",
              fields.where(), Quoted(type), fmt::join(known, ", "));
}

void ReadSizes(ConfigFields& f, const FamilyDefaults& d, ModelConfig& c) {
  c.vocab_size = f.Int("vocab_size", d.vocab_size, 1, kMaxVocab);
  c.hidden_size = f.Int("hidden_size", d.hidden_size, 1, kMaxHidden);
  c.intermediate_size = f.Int("intermediate_size", d.intermediate_size, 1, kMaxWidth);
  c.num_hidden_layers = f.Int("num_hidden_layers", d.num_hidden_layers, 1, kMaxLayers);
  c.num_attention_heads = f.Int("num_attention_heads", d.num_attention_heads, 1, kMaxHeads);
  c.max_position_embeddings = f.Int("max_position_embeddings", d.max_position_embeddings, 1, kMaxPositions);
  c.rms_norm_eps = static_cast<float>(f.Number("rms_norm_eps", d.rms_norm_eps, 0, 1));
  c.tie_word_embeddings = f.Bool("tie_word_embeddings", false);
  c.attention_bias = f.Bool("attention_bias", false);
  if (const std::string act = f.String("hidden_act", "silu"); act != "silu")
    f.Refuse(Code::kUnsupported, "hidden_act", "is {}, minke has \"silu\" only", Quoted(act));
  if (f.Bool("mlp_bias", false)) f.Refuse(Code::kUnsupported, "mlp_bias", "is true; biases in the FFN are not read");
  c.declared_mtp_layers =
      f.Int({"num_nextn_predict_layers", "num_mtp_layers"}, d.num_nextn_predict_layers, 0, kMaxLayers);
  c.num_nextn_predict_layers = std::min<int64_t>(c.declared_mtp_layers, 1);
}

void ReadAttention(ConfigFields& f, const FamilyDefaults& d, ModelConfig& c) {
  // Absent is the family's default; null (and 0, as the original code writes it) is no compression.
  c.q_lora_rank = f.IsNull("q_lora_rank") ? 0 : f.Int("q_lora_rank", d.q_lora_rank, 0, kMaxRank);
  c.kv_lora_rank = f.Int("kv_lora_rank", d.kv_lora_rank, 1, kMaxRank);
  c.qk_nope_head_dim = f.Int("qk_nope_head_dim", d.qk_nope_head_dim, 1, kMaxHeadDim);
  c.qk_rope_head_dim = f.Int("qk_rope_head_dim", d.qk_rope_head_dim, 2, kMaxHeadDim);
  c.v_head_dim = f.Int("v_head_dim", d.v_head_dim, 1, kMaxHeadDim);
  if (c.qk_rope_head_dim % 2 != 0)
    f.Refuse(Code::kDamaged, "qk_rope_head_dim", "is {}; rotary embedding needs pairs", c.qk_rope_head_dim);
  if (!f.Bool("rope_interleave", true))
    f.Refuse(Code::kUnsupported, "rope_interleave", "is false; minke pairs neighbours (2j, 2j + 1) in attention");
}

void ReadExperts(ConfigFields& f, const FamilyDefaults& d, ModelConfig& c) {
  c.n_routed_experts =
      f.Int({"n_routed_experts", "num_experts", "num_local_experts"}, d.n_routed_experts, 0, kMaxExperts);
  c.n_shared_experts = f.Int("n_shared_experts", d.n_shared_experts, 0, 256);
  c.moe_intermediate_size = f.Int("moe_intermediate_size", d.moe_intermediate_size, 1, kMaxWidth);
  c.num_experts_per_tok = f.Int("num_experts_per_tok", d.num_experts_per_tok, 1, kMaxExperts);
  c.n_group = f.Int("n_group", d.n_group, 1, kMaxExpertGroups);
  c.topk_group = f.Int("topk_group", d.topk_group, 1, kMaxExpertGroups);
  c.norm_topk_prob = f.Bool("norm_topk_prob", d.norm_topk_prob);
  c.routed_scaling_factor = static_cast<float>(f.Number("routed_scaling_factor", d.routed_scaling_factor, 1e-6, 1e6));

  const bool v2 = d.family == Family::kDeepseekV2;
  const std::string score = f.String("scoring_func", v2 ? "softmax" : "sigmoid");
  c.scoring_func = d.scoring_func;
  if (score != (v2 ? "softmax" : "sigmoid"))
    f.Refuse(Code::kUnsupported, "scoring_func", "is {}; a {} router has \"{}\"", Quoted(score), d.model_type,
             v2 ? "softmax" : "sigmoid");
  const std::string method = f.String("topk_method", v2 ? "greedy" : "noaux_tc");
  if (v2 && method == "greedy") {
    c.topk_method = TopkMethod::kGreedy;
  } else if (v2 && method == "group_limited_greedy") {
    c.topk_method = TopkMethod::kGroupLimitedGreedy;
  } else if (!v2 && method == "noaux_tc") {
    c.topk_method = TopkMethod::kNoauxTc;
  } else {
    f.Refuse(Code::kUnsupported, "topk_method", "is {}; a {} router has {}", Quoted(method), d.model_type,
             v2 ? "\"greedy\" or \"group_limited_greedy\"" : "\"noaux_tc\"");
  }
  // The original code and transformers disagree on what it would mean, and every release has false.
  if (v2 && c.norm_topk_prob)
    f.Refuse(Code::kUnsupported, "norm_topk_prob", "is true, which deepseek_v2 does not define");
}

void CheckExperts(ConfigFields& f, ModelConfig& c) {
  if (std::find(c.is_moe_layer.begin(), c.is_moe_layer.end(), true) == c.is_moe_layer.end()) return;
  const int64_t experts = c.n_routed_experts;
  if (experts == 0) f.Refuse(Code::kDamaged, "n_routed_experts", "is 0, but the model has MoE layers");
  if (c.num_experts_per_tok == 0) f.Refuse(Code::kDamaged, "num_experts_per_tok", "is missing");
  const bool grouped = c.topk_method != TopkMethod::kGreedy && c.n_group > 1;
  if (grouped && experts % c.n_group != 0)
    f.Refuse(Code::kDamaged, "n_group", "is {}, which does not divide {} experts", c.n_group, experts);
  if (grouped && c.topk_method == TopkMethod::kNoauxTc && experts / c.n_group < 2)
    f.Refuse(Code::kDamaged, "n_group", "is {}: a group needs two experts or more, there are {} experts", c.n_group,
             experts);
  if (c.topk_method != TopkMethod::kGreedy && c.topk_group > c.n_group)
    f.Refuse(Code::kDamaged, "topk_group", "is {}, more than n_group {}", c.topk_group, c.n_group);
  const int64_t available = grouped ? c.topk_group * (experts / c.n_group) : experts;
  if (c.num_experts_per_tok > available)
    f.Refuse(Code::kDamaged, "num_experts_per_tok", "is {}, but only {} experts can be chosen", c.num_experts_per_tok,
             available);
}

// Which layers are MoE. The MTP layer is one whenever there are experts.
void ReadLayerKinds(ConfigFields& f, const FamilyDefaults& d, ModelConfig& c) {
  const int64_t n = c.num_hidden_layers;
  const int64_t first_moe = f.Int("first_k_dense_replace", d.first_k_dense_replace, 0, kMaxLayers);
  const int64_t freq = f.Int("moe_layer_freq", 1, 1, kMaxLayers);
  const std::vector<std::string> types = f.Strings("mlp_layer_types");
  const auto num_types = static_cast<int64_t>(types.size());
  if (f.Find("mlp_layer_types") && num_types != n && num_types != n + c.declared_mtp_layers)
    f.Refuse(Code::kDamaged, "mlp_layer_types", "has {} entries for {} layers", num_types, n);
  for (const std::string& type : types)
    if (type != "dense" && type != "sparse")
      f.Refuse(Code::kDamaged, "mlp_layer_types", "holds {}, expected \"dense\" or \"sparse\"", Quoted(type));
  if (!f.status()) return;
  for (int64_t i = 0; i < n + c.num_nextn_predict_layers; ++i) {
    const bool by_rule = i == n ? c.n_routed_experts > 0 : i >= first_moe && i % freq == 0;
    c.is_moe_layer.push_back(i < num_types ? types[static_cast<size_t>(i)] == "sparse" : by_rule);
  }
}

// "full" layers have their own indexer; "shared" ones reuse the sets of the nearest full layer before them. Only
// glm_moe_dsa shares; in deepseek_v32 every layer is full. The MTP layer is always full.
void ReadIndexer(ConfigFields& f, const FamilyDefaults& d, ModelConfig& c) {
  const int64_t n = c.num_hidden_layers;
  c.has_own_indexer.assign(static_cast<size_t>(n + c.num_nextn_predict_layers), d.index_topk > 0);
  if (d.index_topk == 0) return;
  c.index_n_heads = f.Int("index_n_heads", d.index_n_heads, 1, kMaxHeads);
  c.index_head_dim = f.Int("index_head_dim", d.index_head_dim, 2, kMaxHeadDim);
  c.index_topk = f.Int("index_topk", d.index_topk, 1, kMaxTopk);
  if (c.index_head_dim < c.qk_rope_head_dim)
    f.Refuse(Code::kDamaged, "index_head_dim", "is {}, less than qk_rope_head_dim {}", c.index_head_dim,
             c.qk_rope_head_dim);
  if (c.q_lora_rank == 0)
    f.Refuse(Code::kDamaged, "q_lora_rank", "is null, but the indexer's query comes from the compressed query");
  const bool glm = d.family == Family::kGlmMoeDsa;
  c.index_rope = f.Bool("indexer_rope_interleave", glm) ? RopePairing::kInterleaved : RopePairing::kHalfSplit;
  if (!glm || !f.status()) return;

  const auto check_length = [&](const char* name, size_t size) {
    const auto length = static_cast<int64_t>(size);
    if (length != n && length != n + c.declared_mtp_layers)
      f.Refuse(Code::kDamaged, name, "has {} entries for {} layers", length, n);
    return f.status().has_value();
  };
  const char* source = "index_topk_freq";
  if (f.Find("indexer_types")) {
    source = "indexer_types";
    const std::vector<std::string> types = f.Strings(source);
    for (const std::string& type : types)
      if (type != "full" && type != "shared")
        f.Refuse(Code::kDamaged, source, "holds {}, expected \"full\" or \"shared\"", Quoted(type));
    if (!check_length(source, types.size())) return;
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) c.has_own_indexer[i] = types[i] == "full";
  } else if (f.Find("index_topk_pattern")) {
    source = "index_topk_pattern";
    const std::string pattern = f.String(source, "");
    if (pattern.find_first_not_of("FS") != std::string::npos)
      f.Refuse(Code::kDamaged, source, "holds letters other than F and S");
    if (!check_length(source, pattern.size())) return;
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) c.has_own_indexer[i] = pattern[i] == 'F';
  } else {
    const int64_t freq = f.Int("index_topk_freq", 1, 1, kMaxLayers);
    const int64_t offset = f.Int("index_skip_topk_offset", 2, 0, kMaxLayers);
    for (int64_t i = 0; i < n; ++i)
      c.has_own_indexer[static_cast<size_t>(i)] = std::max<int64_t>(i - offset + 1, 0) % freq == 0;
  }
  if (!c.has_own_indexer[0]) f.Refuse(Code::kDamaged, source, "makes layer 0 shared, which has no earlier layer");
}

// Both dialects: rope_theta beside rope_scaling, or everything in rope_parameters.
void ReadRope(ConfigFields& f, const FamilyDefaults& d, ModelConfig& c) {
  const bool newer = f.Find("rope_parameters") != nullptr;
  const char* name = newer ? "rope_parameters" : "rope_scaling";
  static const Json kEmpty = Json::object();
  const Json* object = f.Find(name);
  if (object && !object->is_object()) {
    f.Refuse(Code::kDamaged, name, "is not an object");
    return;
  }
  ConfigFields s(object ? *object : kEmpty, f.where() + ": " + name);
  // ln(theta) divides, so it must be above 1.
  constexpr double kMinTheta = 1.001, kMaxTheta = 1e15;
  if (newer && f.Find("rope_scaling"))
    f.Refuse(Code::kDamaged, "rope_parameters", "stands beside rope_scaling; keep one of the two dialects");
  ConfigFields& with_theta = newer && s.Find("rope_theta") ? s : f;
  c.rope_theta = d.rope_theta > 0 ? with_theta.Number("rope_theta", d.rope_theta, kMinTheta, kMaxTheta)
                                  : with_theta.RequiredNumber("rope_theta", kMinTheta, kMaxTheta);

  if (newer && s.Find("rope_theta") && f.Find("rope_theta") &&
      f.Number("rope_theta", 0, kMinTheta, kMaxTheta) != c.rope_theta)
    f.Refuse(Code::kDamaged, "rope_theta", "differs from the one in rope_parameters ({})", c.rope_theta);
  if (!s.Find("type") && !s.Find("rope_type") && s.Find("factor"))
    s.Refuse(Code::kDamaged, "rope_type", "is missing beside factor; say \"yarn\" or \"default\"");
  const std::string older_type = s.String("type", "default");
  const std::string type = s.String("rope_type", older_type);
  if (s.Find("type") && type != older_type)
    s.Refuse(Code::kDamaged, "rope_type", "is {}, but type is {}", Quoted(type), Quoted(older_type));
  if (type == "yarn") {
    YarnScaling yarn;
    yarn.factor = s.RequiredNumber("factor", 1, 1e6);
    const double trained =
        f.Number("original_max_position_embeddings", static_cast<double>(c.max_position_embeddings), 1, kMaxPositions);
    yarn.original_max_position_embeddings = s.Number("original_max_position_embeddings", trained, 1, kMaxPositions);
    yarn.beta_fast = s.Number("beta_fast", 32, 1e-3, 1e6);
    yarn.beta_slow = s.Number("beta_slow", 1, 1e-3, 1e6);
    if (yarn.beta_fast < yarn.beta_slow)
      s.Refuse(Code::kDamaged, "beta_fast", "is {}, less than beta_slow {}", yarn.beta_fast, yarn.beta_slow);
    yarn.mscale = s.Number("mscale", 0, 0, 1e3);
    yarn.mscale_all_dim = s.Number("mscale_all_dim", 0, 0, 1e3);
    if (s.Find("attention_factor")) yarn.attention_factor = s.Number("attention_factor", 1, 1e-3, 1e3);
    if (!s.Bool("truncate", true))
      s.Refuse(Code::kUnsupported, "truncate", "is false; minke rounds YaRN's borders to whole pairs");
    c.yarn = yarn;
  } else if (type != "default") {
    s.Refuse(Code::kUnsupported, "rope_type", "is {}; minke has \"default\" and \"yarn\"", Quoted(type));
  }
  f.Require(s.status());
}

void ReadTokens(ConfigFields& f, const FamilyDefaults& d, ModelConfig& c) {
  const auto in_vocab = [&](int64_t id) { return id >= 0 && id < c.vocab_size; };
  // Explicit null is none; absent is the default where the vocabulary has it.
  if (f.Find("bos_token_id")) {
    c.bos_token_id = static_cast<TokenId>(f.Int("bos_token_id", 0, 0, c.vocab_size - 1));
  } else if (!f.IsNull("bos_token_id") && in_vocab(d.bos_token_id)) {
    c.bos_token_id = static_cast<TokenId>(d.bos_token_id);
  }
  if (f.Find("eos_token_id")) {
    for (const int64_t id : f.Ints("eos_token_id", 0, c.vocab_size - 1))
      c.eos_token_ids.push_back(static_cast<TokenId>(id));
  } else if (!f.IsNull("eos_token_id") && in_vocab(d.eos_token_id)) {
    c.eos_token_ids.push_back(static_cast<TokenId>(d.eos_token_id));
  }
}

void ReadQuantization(ConfigFields& f, ModelConfig& c) {
  const Json* object = f.Find("quantization_config");
  if (!object) return;
  if (!object->is_object()) {
    f.Refuse(Code::kDamaged, "quantization_config", "is not an object");
    return;
  }
  ConfigFields q(*object, f.where() + ": quantization_config");
  const std::string method = q.String("quant_method", "");
  c.has_tiles = method == "minke";
  if (!c.has_tiles && method != "fp8")
    q.Refuse(Code::kUnsupported, "quant_method", "is {}; minke reads \"fp8\" and its own", Quoted(method));
  if (const std::string format = q.String("fmt", "e4m3"); format != "e4m3")
    q.Refuse(Code::kUnsupported, "fmt", "is {}; minke reads \"e4m3\"", Quoted(format));
  c.fp8_block_rows = c.fp8_block_cols = 128;
  if (const Json* size = q.Find("weight_block_size")) {
    const std::vector<int64_t> block = q.Ints("weight_block_size", 1, kMaxBlock);
    if (!size->is_array() || block.size() != 2) {
      q.Refuse(Code::kDamaged, "weight_block_size", "is not a list of two numbers");
    } else {
      c.fp8_block_rows = block[0], c.fp8_block_cols = block[1];
    }
  }
  f.Require(q.status());
}

}  // namespace

Result<ModelConfig> ParseModelConfig(std::string_view text, std::string_view where) {
  MINKE_ASSIGN(const Json json, ParseJson(text, where));
  if (!json.is_object()) return Fail(Code::kDamaged, "{}: is not a JSON object", where);
  ConfigFields fields(json, std::string(where));
  MINKE_ASSIGN(const FamilyDefaults* defaults, FindFamily(fields));
  ModelConfig config;
  config.family = defaults->family;
  config.model_type = defaults->model_type;
  ReadSizes(fields, *defaults, config);
  ReadAttention(fields, *defaults, config);
  ReadExperts(fields, *defaults, config);
  ReadLayerKinds(fields, *defaults, config);
  CheckExperts(fields, config);
  ReadIndexer(fields, *defaults, config);
  ReadRope(fields, *defaults, config);
  ReadTokens(fields, *defaults, config);
  ReadQuantization(fields, config);
  MINKE_TRY(fields.status());
  return config;
}

}  // namespace minke
