#include "minke/model/model.h"

#include <filesystem>

#include "minke/base/file.h"
#include "minke/model/weights.h"
#include "minke/tensor/checkpoint.h"

namespace minke {

Model::Model() = default;
Model::~Model() = default;

Result<std::unique_ptr<const Model>> Model::Open(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path path(folder);
  const fs::path dir = fs::is_directory(path, ignored) ? path : path.parent_path();
  const std::string config_path = (dir / "config.json").string();
  MINKE_ASSIGN(const std::string text, ReadFile(config_path, kMaxConfigBytes));

  std::unique_ptr<Model> model(new Model);
  MINKE_ASSIGN(model->config_, ParseModelConfig(text, config_path));
  MINKE_ASSIGN(model->checkpoint_, Checkpoint::Open(folder));
  MINKE_ASSIGN(ModelWeights weights, LoadWeights(model->config_, *model->checkpoint_));
  model->weights_ = std::make_unique<ModelWeights>(std::move(weights));
  MINKE_TRY(model->Health());  // a shard may have failed while its scales were read
  return std::unique_ptr<const Model>(std::move(model));
}

CacheLayout Model::cache_layout(const CacheFormats& formats) const {
  return {.num_layers = static_cast<int64_t>(weights_->layers.size()),
          .kv_lora_rank = config_.kv_lora_rank,
          .qk_rope_head_dim = config_.qk_rope_head_dim,
          .index_head_dim = config_.has_indexer() ? config_.index_head_dim : 0,
          .formats = formats};
}

bool Model::has_mtp() const { return weights_->mtp != nullptr; }

Status Model::Health() const { return checkpoint_->Health(); }

}  // namespace minke
