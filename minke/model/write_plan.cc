#include "minke/model/write_plan.h"

#include <algorithm>
#include <functional>
#include <map>

#include "minke/model/weights.h"
#include "minke/tensor/checkpoint.h"

namespace minke {
namespace {

constexpr std::string_view kScaleSuffix = "_scale_inv";

// Names of all matrices with their views.
class Matrices {
 public:
  explicit Matrices(const Model& model) {
    const ModelWeights& weights = model.weights();
    Add("model.embed_tokens.weight", weights.embed_tokens);
    if (!model.config().tie_word_embeddings) Add("lm_head.weight", weights.lm_head);
    for (size_t i = 0; i < weights.layers.size(); ++i) {
      prefix_ = fmt::format("model.layers.{}.", i);
      LayerWeights layer = weights.layers[i];
      layer.ForEachTensor(model.config(), static_cast<int64_t>(i), *this);
    }
    if (!weights.mtp) return;
    Add(prefix_ + "eh_proj.weight", weights.mtp->eh_proj);
    // Where the files have copies of their own; views of the main model's are not in the checkpoint by these names.
    Add(prefix_ + "embed_tokens.weight", weights.mtp->embed_tokens);
    Add(prefix_ + "shared_head.head.weight", weights.mtp->head);
  }

  void Matrix(const std::string& name, const WeightView& view, int64_t, int64_t) { Add(prefix_ + name, view); }
  void Vector(const std::string&, const std::vector<float>&, int64_t) {}

  const WeightView* Find(const std::string& name) const {
    const auto found = views_.find(name);
    return found == views_.end() ? nullptr : &found->second;
  }

 private:
  void Add(const std::string& name, const WeightView& view) { views_[name] = view; }
  std::string prefix_;
  std::map<std::string, WeightView> views_;
};

bool StaysExact(const std::string& name, const ModelConfig& config) {
  return name.ends_with("mlp.gate.weight") || name.ends_with("indexer.weights_proj.weight") ||
         (name.ends_with("kv_b_proj.weight") && !HeadsAreTiles(config));
}

std::optional<DType> TypeOf(const std::string& name, const ModelConfig& config, DType type,
                            const std::vector<QuantizeRule>& rules) {
  if (StaysExact(name, config)) return std::nullopt;
  for (const QuantizeRule& rule : rules)
    if (std::regex_search(name, rule.pattern)) return rule.type;
  const bool every_token = name.ends_with("embed_tokens.weight") || name.ends_with("head.weight");
  return every_token && type == DType::kQ4 ? DType::kQ6 : type;
}

int64_t TiledBytes(DType type, const WeightView& view) {
  const int64_t row_tiles = RowTiles(view.rows);
  const int64_t row_scales = HasMinimum(type) ? row_tiles * kRowScalesOfTile * static_cast<int64_t>(sizeof(float)) : 0;
  return row_tiles * ColTiles(view.cols) * TileBytes(type) + row_scales;
}

}  // namespace

Result<std::optional<DType>> ParseQuantizeType(std::string_view text) {
  if (text == "q8") return DType::kQ8;
  if (text == "q6") return DType::kQ6;
  if (text == "q4") return DType::kQ4;
  if (text == "keep") return std::optional<DType>();
  return Fail(Code::kInvalidArgument, "the type \"{}\" is none of q8, q6, q4, keep", text);
}

Result<QuantizeRule> ParseQuantizeRule(const std::string& text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0)
    return Fail(Code::kInvalidArgument, "--keep \"{}\": is not of the form REGEX=TYPE", text);
  auto type = ParseQuantizeType(std::string_view(text).substr(equals + 1));
  if (!type) return Fail(Code::kInvalidArgument, "--keep \"{}\": {}", text, type.error().message);
  try {
    return QuantizeRule{text, std::regex(text.substr(0, equals), std::regex::ECMAScript | std::regex::optimize), *type};
  } catch (const std::regex_error& error) {
    return Fail(Code::kInvalidArgument, "--keep \"{}\": is no regular expression: {}", text, error.what());
  }
}

Status CheckRulesMatch(const Model& model, const std::vector<QuantizeRule>& rules) {
  const std::vector<std::string> names = model.checkpoint().Names();
  const Matrices matrices(model);
  for (const QuantizeRule& rule : rules) {
    const bool matches = std::ranges::any_of(names, [&](const std::string& name) {
      return (!rule.type || (matrices.Find(name) && !StaysExact(name, model.config()))) &&
             std::regex_search(name, rule.pattern);
    });
    if (!matches)
      return Fail(Code::kInvalidArgument,
                  "--keep \"{}\": \"{}\" matches no {}: minke inspect MODEL --tensors lists names", rule.text,
                  rule.text.substr(0, rule.text.rfind('=')), rule.type ? "matrix that can be quantised" : "tensor");
  }
  return {};
}

namespace {

using TypeFn = std::function<std::optional<DType>(const std::string& name, const WeightView& view)>;

WritePlan Plan(const Model& model, int64_t shard_bytes, const TypeFn& type_of) {
  const Checkpoint& checkpoint = model.checkpoint();
  const Matrices matrices(model);
  std::map<std::string, PlannedTensor> planned;
  for (const std::string& name : checkpoint.Names()) {
    PlannedTensor tensor;
    tensor.name = name;
    const TensorRef& stored = *checkpoint.Find(name);
    tensor.bytes = static_cast<int64_t>(stored.bytes.size());
    if (const WeightView* view = matrices.Find(name)) {
      tensor.type = type_of(name, *view);
      if (tensor.type) {
        tensor.source = *view;
        tensor.bytes =
            IsTiled(*tensor.type) ? TiledBytes(*tensor.type, *view) : view->rows * RowBytes(*tensor.type, view->cols);
      }
    } else if (IsBlocked(stored.dtype)) {
      continue;  // of a GGUF file, and the configuration does not call for it
    }
    planned.emplace(name, std::move(tensor));
  }
  WritePlan plan;
  int64_t in_shard = 0;
  const auto replaced = [&](const std::string& name, std::string_view suffix) {
    if (!name.ends_with(suffix)) return false;
    const auto matrix = planned.find(name.substr(0, name.size() - suffix.size()));
    return matrix != planned.end() && matrix->second.type.has_value();
  };
  for (const auto& [name, tensor] : planned) {
    if (replaced(name, kScaleSuffix) || replaced(name, kRowScalesSuffix)) continue;
    if (plan.shards.empty() || in_shard + tensor.bytes > shard_bytes) plan.shards.emplace_back(), in_shard = 0;
    plan.shards.back().push_back(tensor);
    in_shard += tensor.bytes;
    plan.bytes += tensor.bytes;
  }
  return plan;
}

}  // namespace

WritePlan PlanQuantization(const Model& model, DType type, const std::vector<QuantizeRule>& rules,
                           int64_t shard_bytes) {
  return Plan(model, shard_bytes, [&](const std::string& name, const WeightView& view) {
    const auto chosen = TypeOf(name, model.config(), type, rules);
    return !chosen && IsBlocked(view.dtype) ? DType::kF32 : chosen;
  });
}

WritePlan PlanConversion(const Model& model, std::optional<DType> dtype, int64_t shard_bytes) {
  return Plan(model, shard_bytes, [&](const std::string& name, const WeightView& view) {
    const bool router = name.ends_with("mlp.gate.weight");
    if (router || (dtype == view.dtype)) return IsBlocked(view.dtype) ? std::optional(DType::kF32) : std::nullopt;
    return dtype || !IsBlocked(view.dtype) ? dtype : std::optional(DType::kBF16);
  });
}

}  // namespace minke
