#include "minke/cli/inspect_report.h"

#include <algorithm>

#include "minke/cli/fit.h"
#include "minke/cli/model_text.h"
#include "minke/cli/terminal.h"
#include "minke/model/facts.h"
#include "minke/tensor/verify.h"

namespace minke {
namespace {

bool IsScale(std::string_view name) { return name.ends_with("_scale_inv"); }

const char* PairingName(RopePairing pairing) {
  return pairing == RopePairing::kInterleaved ? "interleaved" : "half-split";
}

const char* MethodName(TopkMethod method) {
  switch (method) {
    case TopkMethod::kGreedy:
      return "greedy";
    case TopkMethod::kGroupLimitedGreedy:
      return "group_limited_greedy";
    default:
      return "noaux_tc";
  }
}

// "[12, 5]" of element `index`.
std::string PlaceText(int64_t index, const std::vector<int64_t>& shape) {
  std::vector<int64_t> place(shape.size());
  for (size_t d = shape.size(); d-- > 0;) place[d] = index % shape[d], index /= shape[d];
  return ShapeText(place);
}

}  // namespace

Json ArchitectureJson(const ModelConfig& c) {
  const auto layers = c.is_moe_layer.begin();
  const int64_t moe = std::count(layers, layers + c.num_hidden_layers, true);
  const WeightCount weights = CountWeights(c);
  Json json = {{"model_type", c.model_type},
               {"layers", c.num_hidden_layers},
               {"dense_layers", c.num_hidden_layers - moe},
               {"moe_layers", moe},
               {"mtp_layers", c.num_nextn_predict_layers},
               {"vocab_size", c.vocab_size},
               {"hidden_size", c.hidden_size},
               {"intermediate_size", c.intermediate_size},
               {"heads", c.num_attention_heads},
               {"q_lora_rank", c.q_lora_rank},
               {"kv_lora_rank", c.kv_lora_rank},
               {"qk_nope_head_dim", c.qk_nope_head_dim},
               {"qk_rope_head_dim", c.qk_rope_head_dim},
               {"v_head_dim", c.v_head_dim},
               {"max_position_embeddings", c.max_position_embeddings},
               {"rope_theta", c.rope_theta},
               {"yarn_factor", c.yarn ? Json(c.yarn->factor) : Json()},
               {"parameters_by_config", weights.all},
               {"parameters_per_token", weights.used},
               {"parameters_mtp", weights.mtp},
               {"fp8_block", c.fp8_block_rows > 0 ? Json{c.fp8_block_rows, c.fp8_block_cols} : Json()},
               {"experts", nullptr},
               {"indexer", nullptr}};
  if (moe > 0)
    json["experts"] = {{"routed", c.n_routed_experts},
                       {"per_token", c.num_experts_per_tok},
                       {"shared", c.n_shared_experts},
                       {"width", c.moe_intermediate_size},
                       {"groups", c.n_group},
                       {"groups_kept", c.topk_group},
                       {"method", MethodName(c.topk_method)},
                       {"scaling", c.routed_scaling_factor}};
  if (c.has_indexer()) {
    const auto own = c.has_own_indexer.begin();
    json["indexer"] = {{"heads", c.index_n_heads},
                       {"head_dim", c.index_head_dim},
                       {"topk", c.index_topk},
                       {"layers", std::count(own, own + c.num_hidden_layers, true)},
                       {"rope", PairingName(c.index_rope)}};
  }
  return json;
}

Json TensorsJson(const Checkpoint& checkpoint, const ModelConfig* config, bool list) {
  struct Sum {
    int64_t tensors = 0, elements = 0, bytes = 0;
  };
  std::map<DType, Sum> sums;
  Json all = Json::array();
  int64_t count = 0;
  for (const auto& file : checkpoint.files()) {
    for (const auto& [name, tensor] : file->tensors()) {
      ++count;
      Sum& sum = sums[tensor.dtype];
      ++sum.tensors;
      sum.elements += tensor.num_elements();
      sum.bytes += static_cast<int64_t>(tensor.bytes.size());
      if (list)
        all.push_back({{"name", name},
                       {"dtype", DTypeName(tensor.dtype)},
                       {"shape", tensor.shape},
                       {"bytes", tensor.bytes.size()},
                       {"file", file->file().path()}});
    }
  }
  Json by_dtype = Json::array();
  for (const auto& [dtype, sum] : sums)
    by_dtype.push_back(
        {{"dtype", DTypeName(dtype)}, {"tensors", sum.tensors}, {"elements", sum.elements}, {"bytes", sum.bytes}});
  Json json = {{"count", count},
               {"files", checkpoint.files().size()},
               {"bytes", checkpoint.total_bytes()},
               {"parameters", CountStoredParameters(checkpoint, config)},
               {"by_dtype", by_dtype}};
  if (list) json["list"] = std::move(all);
  return json;
}

TextFacts DescribeText(const ModelPath& path, const ModelConfig& config) {
  TextFacts facts;
  if (const auto tokenizer = OpenTokenizer(path)) {
    facts.tokenizer = {{"tokens", (*tokenizer)->vocab_size()}};
    if ((*tokenizer)->vocab_size() > config.vocab_size)
      facts.problem = Fail(Code::kDamaged, "{}: the tokenizer has ids up to {}, but the model has {} rows", path.path,
                           (*tokenizer)->vocab_size() - 1, config.vocab_size);
  } else if (tokenizer.error().code == Code::kNotFound) {
    facts.lacks.push_back("text: there is no tokenizer, so run and chat cannot work; score can");
  } else {
    facts.problem = Fail(tokenizer.error());
  }
  if (const auto choice = ChooseTemplate(path, config.model_type)) {
    facts.prompt_format = {{"name", Name(choice->format)}, {"own", choice->is_own}, {"note", choice->note}};
  } else if (facts.problem) {
    facts.problem = Fail(choice.error());
  }
  return facts;
}

Verification VerifyCheckpoint(const Checkpoint& checkpoint, ThreadPool& pool, bool show_progress) {
  Verification result;
  Json bad = Json::array();
  Progress progress("verifying", "MB", show_progress);
  const double start = MonotonicSeconds();
  double done = 0;
  const double total = static_cast<double>(checkpoint.total_bytes());
  for (const auto& file : checkpoint.files()) {
    for (const auto& [name, tensor] : file->tensors()) {
      const auto found = FindBadValues(tensor, IsScale(name) ? ValueRule::kPositive : ValueRule::kFinite, pool);
      done += static_cast<double>(tensor.bytes.size());
      progress.Update(done / 1e6, total / 1e6);
      if (!found) continue;
      const std::string place = PlaceText(found->first, tensor.shape);
      bad.push_back({{"file", file->file().path()},
                     {"tensor", name},
                     {"count", found->count},
                     {"place", place},
                     {"value", fmt::format("{}", found->value)}});
      if (result.problem)
        result.problem = Fail(Code::kDamaged, "{}: tensor {} ({}) has the value {} at {} and {} such in all; {}",
                              file->file().path(), name, DTypeName(tensor.dtype), found->value, place, found->count,
                              IsScale(name) ? "scales must be positive and finite" : "weights must be finite");
    }
    if (const Status health = file->file().Health(); !health) {
      bad.push_back({{"file", file->file().path()}, {"tensor", nullptr}, {"value", health.error().message}});
      if (result.problem) result.problem = health;
    }
  }
  result.json = {{"bytes", checkpoint.total_bytes()}, {"seconds", MonotonicSeconds() - start}, {"bad", std::move(bad)}};
  return result;
}

}  // namespace minke
