#include "minke/model/config.h"

#include <gtest/gtest.h>

#include "minke/base/file.h"
#include "minke/base/json.h"

namespace minke {
namespace {

Result<ModelConfig> Parse(const Json& json) { return ParseModelConfig(DumpJson(json), "config.json"); }

// A small valid configuration with `changes` applied; a change to null removes nothing, it writes null.
Json Small(const Json& changes = Json::object(), const char* model_type = "deepseek_v32") {
  Json json = {{"model_type", model_type},   {"vocab_size", 100},        {"hidden_size", 64}, {"num_hidden_layers", 4},
               {"n_routed_experts", 8},      {"num_experts_per_tok", 2}, {"n_group", 4},      {"topk_group", 2},
               {"first_k_dense_replace", 1}, {"rope_theta", 10000}};
  if (std::string_view(model_type) == "deepseek_v2") json.update({{"n_group", 1}, {"topk_group", 1}});
  if (changes.is_object()) json.update(changes);
  return json;
}

ModelConfig Good(const Json& json) {
  auto config = Parse(json);
  EXPECT_TRUE(config) << (config ? "" : config.error().message);
  return config ? *config : ModelConfig();
}

TEST(ModelConfig, DefaultsOfDeepseekV3) {
  const ModelConfig c = Good({{"model_type", "deepseek_v3"}});
  EXPECT_EQ(c.family, Family::kDeepseekV3);
  EXPECT_EQ(c.vocab_size, 129280);
  EXPECT_EQ(c.hidden_size, 7168);
  EXPECT_EQ(c.intermediate_size, 18432);
  EXPECT_EQ(c.moe_intermediate_size, 2048);
  EXPECT_EQ(c.num_hidden_layers, 61);
  EXPECT_EQ(c.num_attention_heads, 128);
  EXPECT_EQ(c.n_routed_experts, 256);
  EXPECT_EQ(c.n_shared_experts, 1);
  EXPECT_EQ(c.num_experts_per_tok, 8);
  EXPECT_EQ(c.n_group, 8);
  EXPECT_EQ(c.topk_group, 4);
  EXPECT_EQ(c.topk_method, TopkMethod::kNoauxTc);
  EXPECT_EQ(c.scoring_func, RouterScore::kSigmoid);
  EXPECT_TRUE(c.norm_topk_prob);
  EXPECT_EQ(c.routed_scaling_factor, 2.5f);
  EXPECT_EQ(c.q_lora_rank, 1536);
  EXPECT_EQ(c.kv_lora_rank, 512);
  EXPECT_EQ(c.qk_head_dim(), 192);
  EXPECT_EQ(c.latent_dim(), 576);
  EXPECT_EQ(c.v_head_dim, 128);
  EXPECT_EQ(c.rms_norm_eps, 1e-6f);
  EXPECT_EQ(c.max_position_embeddings, 4096);
  EXPECT_FALSE(c.tie_word_embeddings || c.attention_bias || c.has_indexer() || c.yarn);
  EXPECT_EQ(c.rope_theta, 10000);
  EXPECT_EQ(c.num_nextn_predict_layers, 1);
  EXPECT_EQ(c.bos_token_id, 0);
  EXPECT_EQ(c.eos_token_ids, std::vector<TokenId>{1});
  EXPECT_EQ(c.fp8_block_rows, 0);
  ASSERT_EQ(c.is_moe_layer.size(), 62u);
  EXPECT_FALSE(c.is_moe_layer[2]);
  EXPECT_TRUE(c.is_moe_layer[3] && c.is_moe_layer[61]);
  EXPECT_EQ(c.has_own_indexer, std::vector<bool>(62, false));
}

TEST(ModelConfig, DefaultsOfTheOthersWhereTheyDiffer) {
  const ModelConfig v2 = Good({{"model_type", "deepseek_v2"}, {"num_experts_per_tok", 6}});
  EXPECT_EQ(v2.vocab_size, 102400);
  EXPECT_EQ(v2.hidden_size, 4096);
  EXPECT_EQ(v2.intermediate_size, 11008);
  EXPECT_EQ(v2.moe_intermediate_size, 1407);
  EXPECT_EQ(v2.num_hidden_layers, 32);
  EXPECT_EQ(v2.num_attention_heads, 32);
  EXPECT_EQ(v2.n_routed_experts, 64);
  EXPECT_EQ(v2.n_shared_experts, 2);
  EXPECT_EQ(v2.n_group, 1);
  EXPECT_EQ(v2.topk_method, TopkMethod::kGreedy);
  EXPECT_EQ(v2.scoring_func, RouterScore::kSoftmax);
  EXPECT_FALSE(v2.norm_topk_prob);
  EXPECT_EQ(v2.routed_scaling_factor, 1);
  EXPECT_EQ(v2.q_lora_rank, 1536);
  EXPECT_EQ(v2.max_position_embeddings, 2048);
  EXPECT_EQ(v2.num_nextn_predict_layers, 0);
  EXPECT_EQ(v2.bos_token_id, 1);
  EXPECT_EQ(v2.eos_token_ids, std::vector<TokenId>{2});
  EXPECT_EQ(v2.is_moe_layer, std::vector<bool>(32, true));

  const ModelConfig v32 = Good({{"model_type", "deepseek_v32"}});
  EXPECT_EQ(v32.index_n_heads, 64);
  EXPECT_EQ(v32.index_head_dim, 128);
  EXPECT_EQ(v32.index_topk, 2048);
  EXPECT_EQ(v32.index_rope, RopePairing::kHalfSplit);
  EXPECT_EQ(v32.max_position_embeddings, 163840);
  EXPECT_EQ(v32.has_own_indexer, std::vector<bool>(62, true));

  const ModelConfig glm = Good({{"model_type", "glm_moe_dsa"}, {"rope_parameters", {{"rope_theta", 1e6}}}});
  EXPECT_EQ(glm.vocab_size, 154880);
  EXPECT_EQ(glm.hidden_size, 6144);
  EXPECT_EQ(glm.intermediate_size, 12288);
  EXPECT_EQ(glm.num_hidden_layers, 78);
  EXPECT_EQ(glm.num_attention_heads, 64);
  EXPECT_EQ(glm.n_group, 1);
  EXPECT_EQ(glm.q_lora_rank, 2048);
  EXPECT_EQ(glm.qk_nope_head_dim, 192);
  EXPECT_EQ(glm.v_head_dim, 256);
  EXPECT_EQ(glm.rms_norm_eps, 1e-5f);
  EXPECT_EQ(glm.max_position_embeddings, 202752);
  EXPECT_EQ(glm.index_n_heads, 32);
  EXPECT_EQ(glm.index_rope, RopePairing::kInterleaved);
  EXPECT_EQ(glm.rope_theta, 1e6);
  EXPECT_FALSE(glm.bos_token_id);
  EXPECT_TRUE(glm.eos_token_ids.empty());
}

TEST(ModelConfig, GoldenAndBuiltInFilesParse) {
  for (const char* name : {"v2_lite", "v2_group", "v3_bf16_sharded", "v32", "v32_fp8", "v32_mtp", "glm_moe_dsa"}) {
    const std::string path = std::string(MINKE_TEST_DATA "/golden/") + name + "/config.json";
    const auto config = ParseModelConfig(ReadFile(path, 1 << 20).value(), path);
    EXPECT_TRUE(config) << config.error().message;
  }
  const auto nano = ParseModelConfig(ReadFile(MINKE_TEST_DATA "/nano-hf/config.json", 1 << 20).value(), "nano");
  ASSERT_TRUE(nano) << nano.error().message;
  EXPECT_EQ(nano->index_topk, 32);
  EXPECT_FALSE(nano->yarn);
}

TEST(ModelConfig, NullIsAbsentAndUnknownKeysAreIgnored) {
  Json json = Small();
  const ModelConfig plain = Good(json);
  for (const char* name : {"n_shared_experts", "rope_scaling", "rope_parameters", "quantization_config", "hidden_act",
                           "mlp_layer_types", "index_topk", "moe_layer_freq", "topk_method", "num_mtp_layers"})
    json[name] = nullptr;
  json["some_new_key"] = {{"a", {1, 2}}};
  json["num_key_value_heads"] = 1;
  json["head_dim"] = "anything";
  const ModelConfig c = Good(json);
  EXPECT_EQ(c.n_shared_experts, plain.n_shared_experts);
  EXPECT_EQ(c.index_topk, plain.index_topk);
  EXPECT_EQ(c.is_moe_layer, plain.is_moe_layer);
}

TEST(ModelConfig, NoCompressionIsNullNotAbsent) {
  EXPECT_EQ(Good(Small({}, "deepseek_v2")).q_lora_rank, 1536);
  EXPECT_EQ(Good(Small({{"q_lora_rank", nullptr}}, "deepseek_v2")).q_lora_rank, 0);
  EXPECT_EQ(Good(Small({{"q_lora_rank", nullptr}}, "deepseek_v3")).q_lora_rank, 0);
}

TEST(ModelConfig, Aliases) {
  Json json = Small();
  json.erase("n_routed_experts");
  for (const char* name : {"num_experts", "num_local_experts"}) {
    Json aliased = json;
    aliased[name] = 16;
    EXPECT_EQ(Good(aliased).n_routed_experts, 16);
  }
  EXPECT_EQ(Good(Small({{"num_mtp_layers", 0}})).num_nextn_predict_layers, 0);
  EXPECT_EQ(Good(Small({{"num_experts", 8}})).n_routed_experts, 8);
}

TEST(ModelConfig, BothRopeDialects) {
  const Json scaling = {{"factor", 40},    {"original_max_position_embeddings", 4096},
                        {"beta_fast", 32}, {"beta_slow", 1},
                        {"mscale", 1.0},   {"mscale_all_dim", 0.707}};
  Json old_scaling = scaling, new_scaling = scaling;
  old_scaling["type"] = "yarn";
  new_scaling.update({{"rope_type", "yarn"}, {"rope_theta", 20000.5}});
  for (const ModelConfig& c : {Good(Small({{"rope_theta", 20000.5}, {"rope_scaling", old_scaling}})),
                               Good(Small({{"rope_theta", nullptr}, {"rope_parameters", new_scaling}}))}) {
    EXPECT_EQ(c.rope_theta, 20000.5);
    ASSERT_TRUE(c.yarn);
    EXPECT_EQ(c.yarn->factor, 40);
    EXPECT_EQ(c.yarn->original_max_position_embeddings, 4096);
    EXPECT_EQ(c.yarn->mscale, 1);
    EXPECT_EQ(c.yarn->mscale_all_dim, 0.707);
    EXPECT_FALSE(c.yarn->attention_factor);
  }
  // Neither word, or "default": no scaling. theta beside rope_parameters counts when it is not inside.
  EXPECT_FALSE(Good(Small({{"rope_scaling", {{"type", "default"}}}})).yarn);
  EXPECT_FALSE(Good(Small({{"rope_scaling", Json::object()}})).yarn);
  EXPECT_EQ(Good(Small({{"rope_theta", 5000}, {"rope_parameters", {{"rope_type", "default"}}}})).rope_theta, 5000);
  // Without an original length the whole length is it.
  const ModelConfig c = Good(Small({{"max_position_embeddings", 8192},
                                    {"rope_scaling", {{"type", "yarn"}, {"factor", 4}, {"attention_factor", 0.5}}}}));
  EXPECT_EQ(c.yarn->original_max_position_embeddings, 8192);
  EXPECT_EQ(c.yarn->attention_factor, 0.5);
  EXPECT_EQ(c.yarn->mscale_all_dim, 0);
}

TEST(ModelConfig, LayerKinds) {
  const auto moe = [](const Json& changes) { return Good(Small(changes)).is_moe_layer; };
  EXPECT_EQ(moe({}), (std::vector<bool>{false, true, true, true, true}));
  EXPECT_EQ(moe({{"moe_layer_freq", 2}, {"num_mtp_layers", 0}}), (std::vector<bool>{false, false, true, false}));
  EXPECT_EQ(moe({{"first_k_dense_replace", 9}, {"num_mtp_layers", 0}}), (std::vector<bool>(4, false)));
  EXPECT_EQ(moe({{"mlp_layer_types", {"sparse", "dense", "dense", "sparse"}}}),
            (std::vector<bool>{true, false, false, true, true}));
  EXPECT_EQ(moe({{"mlp_layer_types", {"sparse", "dense", "dense", "sparse", "dense"}}}),
            (std::vector<bool>{true, false, false, true, false}));
  // Nothing about experts matters when no layer has any.
  EXPECT_EQ(moe({{"first_k_dense_replace", 4}, {"n_routed_experts", 0}, {"num_mtp_layers", 1}}),
            (std::vector<bool>(5, false)));
}

TEST(ModelConfig, OnlyTheFirstMtpLayerIsUsed) {
  const ModelConfig c = Good(Small({{"num_nextn_predict_layers", 3}}));
  EXPECT_EQ(c.num_nextn_predict_layers, 1);
  EXPECT_EQ(c.declared_mtp_layers, 3);
  EXPECT_EQ(c.is_moe_layer.size(), 5u);
}

TEST(ModelConfig, IndexerScheduleOfGlm) {
  const auto full = [](const Json& changes) { return Good(Small(changes, "glm_moe_dsa")).has_own_indexer; };
  EXPECT_EQ(full({}), std::vector<bool>(5, true));
  EXPECT_EQ(full({{"indexer_types", {"full", "shared", "shared", "full"}}}),
            (std::vector<bool>{true, false, false, true, true}));
  EXPECT_EQ(full({{"index_topk_pattern", "FSFS"}}), (std::vector<bool>{true, false, true, false, true}));
  // max(i - 2 + 1, 0) % 2 == 0 over 0, 0, 1, 2.
  EXPECT_EQ(full({{"index_topk_freq", 2}}), (std::vector<bool>{true, true, false, true, true}));
  EXPECT_EQ(full({{"index_topk_freq", 2}, {"index_skip_topk_offset", 1}}),
            (std::vector<bool>{true, false, true, false, true}));
  // Explicit types win; DeepSeek-V3.2 has an indexer everywhere.
  EXPECT_EQ(full({{"indexer_types", {"full", "full", "full", "shared"}}, {"index_topk_freq", 2}}),
            (std::vector<bool>{true, true, true, false, true}));
  EXPECT_EQ(Good(Small({{"index_topk_freq", 2}})).has_own_indexer, std::vector<bool>(5, true));
}

TEST(ModelConfig, IndexerPairingIsTheKeyElseTheFamilys) {
  EXPECT_EQ(Good(Small()).index_rope, RopePairing::kHalfSplit);
  EXPECT_EQ(Good(Small({{"indexer_rope_interleave", true}})).index_rope, RopePairing::kInterleaved);
  EXPECT_EQ(Good(Small({}, "glm_moe_dsa")).index_rope, RopePairing::kInterleaved);
  EXPECT_EQ(Good(Small({{"indexer_rope_interleave", false}}, "glm_moe_dsa")).index_rope, RopePairing::kHalfSplit);
}

TEST(ModelConfig, TokenIds) {
  EXPECT_EQ(Good(Small({{"eos_token_id", {5, 7}}})).eos_token_ids, (std::vector<TokenId>{5, 7}));
  EXPECT_EQ(Good(Small({{"eos_token_id", 9}})).eos_token_ids, (std::vector<TokenId>{9}));
  EXPECT_TRUE(Good(Small({{"eos_token_id", nullptr}})).eos_token_ids.empty());
  EXPECT_FALSE(Good(Small({{"bos_token_id", nullptr}})).bos_token_id);
  EXPECT_EQ(Good(Small({{"bos_token_id", 3}})).bos_token_id, 3);
  EXPECT_TRUE(Good(Small({{"vocab_size", 1}})).eos_token_ids.empty()) << "the default is outside this vocabulary";
}

TEST(ModelConfig, Quantization) {
  const ModelConfig c = Good(
      Small({{"quantization_config", {{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", {64, 32}}}}}));
  EXPECT_EQ(c.fp8_block_rows, 64);
  EXPECT_EQ(c.fp8_block_cols, 32);
  EXPECT_EQ(Good(Small({{"quantization_config", {{"quant_method", "fp8"}}}})).fp8_block_rows, 128);
}

struct BadConfig {
  Json changes;
  const char* message;
  Code code = Code::kDamaged;
  const char* model_type = "deepseek_v32";
};

class BadModelConfig : public testing::TestWithParam<BadConfig> {};

TEST_P(BadModelConfig, NamesTheField) {
  const auto config = Parse(Small(GetParam().changes, GetParam().model_type));
  ASSERT_FALSE(config) << "accepted";
  EXPECT_EQ(config.error().code, GetParam().code) << config.error().message;
  EXPECT_NE(config.error().message.find(GetParam().message), std::string::npos) << config.error().message;
  EXPECT_EQ(config.error().message.rfind("config.json: ", 0), 0u) << config.error().message;
}

constexpr Code kUnsupported = Code::kUnsupported;

INSTANTIATE_TEST_SUITE_P(
    Types, BadModelConfig,
    testing::Values(BadConfig{{{"hidden_size", "64"}}, "hidden_size: is \"64\", expected an integer"},
                    BadConfig{{{"hidden_size", 64.0}}, "hidden_size: is 64.0, expected an integer"},
                    BadConfig{{{"hidden_size", true}}, "hidden_size: is true, expected an integer"},
                    BadConfig{{{"hidden_size", {64}}}, "hidden_size: is a list, expected an integer"},
                    BadConfig{{{"hidden_size", Json::object()}}, "hidden_size: is an object, expected an integer"},
                    BadConfig{{{"moe_layer_freq", {1, 1, 1, 1}}}, "moe_layer_freq: is a list"},
                    BadConfig{{{"tie_word_embeddings", 0}}, "tie_word_embeddings: is 0, expected true or false"},
                    BadConfig{{{"norm_topk_prob", "true"}}, "norm_topk_prob: is \"true\", expected true or false"},
                    BadConfig{{{"rms_norm_eps", "1e-6"}}, "rms_norm_eps: is \"1e-6\", expected a number"},
                    BadConfig{{{"rope_theta", true}}, "rope_theta: is true, expected a number"},
                    BadConfig{{{"hidden_act", 1}}, "hidden_act: is 1, expected a string"},
                    BadConfig{{{"model_type", 32}}, "model_type: is 32, expected a string"},
                    BadConfig{{{"model_type", nullptr}}, "model_type: is missing"},
                    BadConfig{{{"mlp_layer_types", "dense"}}, "mlp_layer_types: is \"dense\", expected a list"},
                    BadConfig{{{"mlp_layer_types", {1, 2, 3, 4}}}, "mlp_layer_types: is 1, expected strings"},
                    BadConfig{{{"rope_scaling", "yarn"}}, "rope_scaling: is not an object"},
                    BadConfig{{{"quantization_config", {1}}}, "quantization_config: is not an object"},
                    BadConfig{{{"eos_token_id", {1, "2"}}}, "eos_token_id: is \"2\", expected an integer"},
                    BadConfig{{{"eos_token_id", "1"}}, "eos_token_id: is \"1\", expected an integer"}));

INSTANTIATE_TEST_SUITE_P(
    Numbers, BadModelConfig,
    testing::Values(BadConfig{{{"hidden_size", -64}}, "hidden_size: is -64, expected 1 to 1048576"},
                    BadConfig{{{"hidden_size", 0}}, "hidden_size: is 0, expected 1"},
                    BadConfig{{{"vocab_size", 1LL << 40}}, "vocab_size: is 1099511627776, expected 1"},
                    BadConfig{{{"vocab_size", ~uint64_t{0}}}, "vocab_size: is 18446744073709551615"},
                    BadConfig{{{"num_hidden_layers", 100000}}, "num_hidden_layers: is 100000"},
                    BadConfig{{{"n_routed_experts", 1 << 20}}, "n_routed_experts: is 1048576"},
                    BadConfig{{{"index_topk", 0}}, "index_topk: is 0"}, BadConfig{{{"n_group", 0}}, "n_group: is 0"},
                    BadConfig{{{"moe_layer_freq", 0}}, "moe_layer_freq: is 0"},
                    BadConfig{{{"num_nextn_predict_layers", -1}}, "num_nextn_predict_layers: is -1"},
                    BadConfig{{{"rms_norm_eps", -1e-6}}, "rms_norm_eps: is -1e-06"},
                    BadConfig{{{"rope_theta", 1}}, "rope_theta: is 1, expected"},
                    BadConfig{{{"rope_theta", 0}}, "rope_theta: is 0, expected"},
                    BadConfig{{{"routed_scaling_factor", 1e30}}, "routed_scaling_factor: is 1e+30"},
                    BadConfig{{{"eos_token_id", 100}}, "eos_token_id: is 100, expected 0 to 99"},
                    BadConfig{{{"bos_token_id", -1}}, "bos_token_id: is -1"},
                    BadConfig{{{"rope_scaling", {{"type", "yarn"}, {"factor", 0}}}}, "rope_scaling: factor: is 0"},
                    BadConfig{{{"quantization_config", {{"quant_method", "fp8"}, {"weight_block_size", {0, 128}}}}},
                              "quantization_config: weight_block_size: is 0"}));

INSTANTIATE_TEST_SUITE_P(
    Contradictions, BadModelConfig,
    testing::Values(
        BadConfig{{{"n_group", 3}, {"topk_group", 1}}, "n_group: is 3, which does not divide 8 experts"},
        BadConfig{{{"n_group", 8}, {"topk_group", 4}}, "n_group: is 8: a group needs two experts"},
        BadConfig{{{"topk_group", 5}}, "topk_group: is 5, more than n_group 4"},
        BadConfig{{{"num_experts_per_tok", 5}}, "num_experts_per_tok: is 5, but only 4 experts"},
        BadConfig{{{"num_experts_per_tok", 9}, {"n_group", 1}, {"topk_group", 1}}, "but only 8 experts"},
        BadConfig{{{"num_experts_per_tok", nullptr}}, "num_experts_per_tok: is missing", Code::kDamaged, "deepseek_v2"},
        BadConfig{{{"n_routed_experts", 0}}, "n_routed_experts: is 0, but the model has MoE layers"},
        BadConfig{{{"num_experts", 16}}, "num_experts: is 16, but n_routed_experts is 8"},
        BadConfig{{{"num_mtp_layers", 1}, {"num_nextn_predict_layers", 0}}, "num_mtp_layers: is 1, but"},
        BadConfig{{{"qk_rope_head_dim", 63}}, "qk_rope_head_dim: is 63; rotary"},
        BadConfig{{{"index_head_dim", 32}}, "index_head_dim: is 32, less than qk_rope_head_dim 64"},
        BadConfig{{{"q_lora_rank", nullptr}}, "q_lora_rank: is null"},
        BadConfig{{{"q_lora_rank", nullptr}}, "q_lora_rank: is null", Code::kDamaged, "glm_moe_dsa"},
        BadConfig{{{"mlp_layer_types", {"dense"}}}, "mlp_layer_types: has 1 entries for 4 layers"},
        BadConfig{{{"mlp_layer_types", {"dense", "moe", "dense", "dense"}}}, "mlp_layer_types: holds \"moe\""},
        BadConfig{
            {{"indexer_types", {"full", "shared"}}}, "indexer_types: has 2 entries", Code::kDamaged, "glm_moe_dsa"},
        BadConfig{{{"indexer_types", {"full", "half", "full", "full"}}},
                  "indexer_types: holds \"half\"",
                  Code::kDamaged,
                  "glm_moe_dsa"},
        BadConfig{{{"indexer_types", {"shared", "full", "full", "full"}}},
                  "indexer_types: makes layer 0 shared",
                  Code::kDamaged,
                  "glm_moe_dsa"},
        BadConfig{{{"index_topk_pattern", "SFFF"}},
                  "index_topk_pattern: makes layer 0 shared",
                  Code::kDamaged,
                  "glm_moe_dsa"},
        BadConfig{{{"index_topk_pattern", "FXFF"}}, "index_topk_pattern: holds letters", Code::kDamaged, "glm_moe_dsa"},
        BadConfig{{{"index_topk_freq", 2}, {"index_skip_topk_offset", 0}},
                  "index_topk_freq: makes layer 0 shared",
                  Code::kDamaged,
                  "glm_moe_dsa"},
        BadConfig{{{"rope_theta", nullptr}}, "rope_theta: is missing", Code::kDamaged, "glm_moe_dsa"},
        BadConfig{{{"rope_scaling", {{"type", "yarn"}}}}, "rope_scaling: factor: is missing"},
        BadConfig{{{"rope_scaling", {{"type", "yarn"}, {"rope_type", "linear"}}}},
                  "rope_type: is \"linear\", but type"},
        BadConfig{{{"rope_scaling", {{"type", "yarn"}, {"factor", 4}, {"beta_fast", 1}, {"beta_slow", 32}}}},
                  "beta_fast: is 1, less than beta_slow 32"},
        BadConfig{{{"quantization_config", {{"quant_method", "fp8"}, {"weight_block_size", 128}}}},
                  "weight_block_size: is not a list of two"}));

INSTANTIATE_TEST_SUITE_P(
    Unsupported, BadModelConfig,
    testing::Values(
        BadConfig{{{"model_type", "deepseek_v4"}}, "model_type: \"deepseek_v4\" is an architecture", kUnsupported},
        BadConfig{
            {{"model_type", "llama"}}, "it runs deepseek_v2, deepseek_v3, deepseek_v32, glm_moe_dsa", kUnsupported},
        BadConfig{{{"model_type", ""}}, "model_type: \"\"", kUnsupported},
        BadConfig{{{"hidden_act", "gelu"}}, "hidden_act: is \"gelu\"", kUnsupported},
        BadConfig{{{"scoring_func", "softmax"}}, "scoring_func: is \"softmax\"", kUnsupported},
        BadConfig{{{"topk_method", "greedy"}}, "topk_method: is \"greedy\"", kUnsupported},
        BadConfig{{{"topk_method", "noaux_tc"}}, "topk_method: is \"noaux_tc\"", kUnsupported, "deepseek_v2"},
        BadConfig{{{"norm_topk_prob", true}}, "norm_topk_prob: is true", kUnsupported, "deepseek_v2"},
        BadConfig{{{"rope_interleave", false}}, "rope_interleave: is false", kUnsupported},
        BadConfig{{{"mlp_bias", true}}, "mlp_bias: is true", kUnsupported},
        BadConfig{{{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}}, "rope_type: is \"linear\"", kUnsupported},
        BadConfig{{{"rope_scaling", {{"type", "yarn"}, {"factor", 2}, {"truncate", false}}}}, "truncate", kUnsupported},
        BadConfig{{{"quantization_config", {{"quant_method", "gptq"}}}}, "quant_method: is \"gptq\"", kUnsupported},
        BadConfig{{{"quantization_config", Json::object()}}, "quant_method: is \"\"", kUnsupported},
        BadConfig{
            {{"quantization_config", {{"quant_method", "fp8"}, {"fmt", "e5m2"}}}}, "fmt: is \"e5m2\"", kUnsupported}));

TEST(ModelConfig, WhatIsNotAnObject) {
  for (const char* text : {"", "[]", "3", "\"deepseek_v3\"", "{\"model_type\": \"deepseek_v3\"", "null"}) {
    const auto config = ParseModelConfig(text, "config.json");
    ASSERT_FALSE(config) << text;
    EXPECT_EQ(config.error().code, Code::kDamaged);
  }
}

TEST(ModelConfig, MessagesStayOneShortLine) {
  const auto config = Parse(Small({{"hidden_act", "line\nbreak" + std::string(500, 'x')}}));
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().message.find('\n'), std::string::npos);
  EXPECT_LT(config.error().message.size(), 200u);
}

}  // namespace
}  // namespace minke
