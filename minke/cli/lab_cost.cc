#include "minke/cli/lab_cost.h"

#include "minke/cli/bench_cost.h"
#include "minke/cli/machine.h"
#include "minke/cli/model_path.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/parameters.h"

namespace minke {
namespace {

// V3.2's layer with a small FFN and a small vocabulary, so that attention dominates as it does at 128K.
Json LayerConfig(const LabCost& cost) {
  int64_t longest = 4096;
  for (const int64_t depth : cost.depths) longest = std::max(longest, depth);
  return {{"model_type", "deepseek_v32"},
          {"vocab_size", 512},
          {"hidden_size", cost.hidden},
          {"intermediate_size", 512},
          {"moe_intermediate_size", 256},
          {"num_hidden_layers", 1},
          {"num_attention_heads", cost.heads},
          {"num_key_value_heads", cost.heads},
          {"n_routed_experts", 16},
          {"n_shared_experts", 1},
          {"num_experts_per_tok", 8},
          {"n_group", 8},
          {"topk_group", 4},
          {"first_k_dense_replace", 1},
          {"moe_layer_freq", 1},
          {"topk_method", "noaux_tc"},
          {"scoring_func", "sigmoid"},
          {"norm_topk_prob", true},
          {"routed_scaling_factor", 2.5},
          {"q_lora_rank", cost.q_lora_rank},
          {"kv_lora_rank", cost.kv_lora_rank},
          {"qk_nope_head_dim", 128},
          {"qk_rope_head_dim", 64},
          {"v_head_dim", 128},
          {"index_n_heads", cost.index_heads},
          {"index_head_dim", 128},
          {"index_topk", cost.index_topk},
          {"rms_norm_eps", 1e-6},
          {"max_position_embeddings", longest + 4096},
          {"rope_theta", 10000},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", false},
          {"attention_bias", false},
          {"bos_token_id", 0},
          {"eos_token_id", 1},
          {"num_nextn_predict_layers", 0}};
}

struct Price {
  const char *name, *since;
  double cached, input, output;
};
// Published prices, USD per million tokens, since when; docs/lab.md.
constexpr Price kPrices[] = {{"DeepSeek-V3.2", "2025-09-29", 0.028, 0.28, 0.42},
                             {"GPT-5", "2025-08", 0.125, 1.25, 10},
                             {"Gemini 3 Pro preview", "2025-11", 0.20, 2, 12},
                             {"Gemini 3 Pro preview, prompt above 200k", "2025-11", 0.40, 4, 18}};

}  // namespace

Json LabCostKey(const LabCost& cost, const std::string& model, double usd_per_hour, const std::string& isa,
                int threads) {
  const auto kernels = ChooseKernelSet(isa);
  return {{"layer", LayerConfig(cost)},
          {"depths", cost.depths},
          {"prompt_tokens", cost.prompt_tokens},
          {"decode_tokens", cost.decode_tokens},
          {"repetitions", cost.repetitions},
          {"model", model},
          {"usd_per_hour", usd_per_hour},
          {"kernels", kernels ? std::string((*kernels)->name) : isa},
          {"threads", threads},
          {"machine", MachineJson(ReadMachine())["cpu"]}};
}

Result<Json> MeasureLabCost(const LabCost& cost, const std::string& model_name, double usd_per_hour,
                            const std::string& isa, const LabWork& work) {
  MINKE_ASSIGN(const KernelSet* kernels, ChooseKernelSet(isa));
  std::unique_ptr<Parameters> random;
  std::shared_ptr<const Model> model;
  std::string name = model_name;
  if (model_name.empty()) {
    name = fmt::format("one random layer: hidden {}, {} heads, latent {}, {} index heads, top-k {}, F32", cost.hidden,
                       cost.heads, cost.kv_lora_rank, cost.index_heads, cost.index_topk);
    MINKE_ASSIGN(const ModelConfig config, ParseModelConfig(DumpJson(LayerConfig(cost)), "the bench layer"));
    MINKE_ASSIGN(random, Parameters::Random(config, /*seed=*/1, /*sigma=*/0.02));
    model = random->model();
  } else {
    MINKE_ASSIGN(const ModelPath path, FindModel(model_name));
    MINKE_ASSIGN(model, Model::Open(path.path));
  }
  BenchOptions options;
  options.depths = cost.depths;
  options.batches = {1}, options.threads = {work.threads};
  options.attentions = {Attention::kDense};
  if (model->config().has_indexer()) options.attentions.push_back(Attention::kDsa);
  options.prompt_tokens = cost.prompt_tokens, options.decode_tokens = cost.decode_tokens;
  options.repetitions = cost.repetitions;
  const BenchWatcher silent{.peaks = [](const Peaks&) {},
                            .row = [](const BenchRow&) -> Status { return {}; },
                            .progress = [](int64_t, int64_t) {}};
  MINKE_ASSIGN(const BenchReport report, RunBench(*model, *kernels, options, silent));
  Json rows = Json::array();
  for (const BenchRow& row : report.rows)
    rows.push_back({{"phase", PhaseName(row.phase)},
                    {"attention", AttentionName(row.attention)},
                    {"position", row.depth},
                    {"tokens_per_s", row.tokens_per_s},
                    {"usd_per_million", UsdPerMillionTokens(usd_per_hour, row.tokens_per_s)}});
  return Json{{"model", name}, {"threads", work.threads}, {"usd_per_hour", usd_per_hour}, {"rows", rows}};
}

Json PriceTable() {
  Json rows = Json::array();
  for (const Price& price : kPrices)
    rows.push_back({{"name", price.name},
                    {"since", price.since},
                    {"cached", price.cached},
                    {"input", price.input},
                    {"output", price.output},
                    {"times", price.output / kPrices[0].output}});
  return {{"currency", "USD per million tokens"}, {"rows", rows}};
}

}  // namespace minke
