#include "minke/model/model.h"

#include <filesystem>

#include "minke/base/file.h"
#include "minke/model/gguf_model.h"
#include "minke/model/weights.h"
#include "minke/tensor/checkpoint.h"

namespace minke {

Model::Model() = default;
Model::~Model() = default;

Result<std::unique_ptr<const Model>> Model::Open(const std::string& path) {
  std::unique_ptr<Model> model(new Model);
  if (IsGgufPath(path)) {
    MINKE_ASSIGN(GgufModel gguf, OpenGgufModel(path));
    MINKE_ASSIGN(model->config_, ParseModelConfig(DumpJson(gguf.config), path + ": metadata"));
    model->checkpoint_ = std::move(gguf.checkpoint);
  } else {
    namespace fs = std::filesystem;
    std::error_code ignored;
    const fs::path dir = fs::is_directory(path, ignored) ? fs::path(path) : fs::path(path).parent_path();
    const std::string config_path = (dir / "config.json").string();
    MINKE_ASSIGN(const std::string text, ReadFile(config_path, kMaxConfigBytes));
    MINKE_ASSIGN(model->config_, ParseModelConfig(text, config_path));
    MINKE_ASSIGN(model->checkpoint_, Checkpoint::Open(path));
  }
  MINKE_ASSIGN(ModelWeights weights, LoadWeights(model->config_, *model->checkpoint_));
  model->weights_ = std::make_unique<ModelWeights>(std::move(weights));
  MINKE_TRY(model->Health());  // a shard may have failed while its scales were read
  return std::unique_ptr<const Model>(std::move(model));
}

CacheLayout Model::cache_layout(IndexPrecision index) const {
  const int64_t dim = config_.has_indexer() ? config_.index_head_dim : 0;
  const bool int8 = dim > 0 && index == IndexPrecision::kInt8;
  return {.num_layers = static_cast<int64_t>(weights_->layers.size()),
          .latent_dim = config_.latent_dim(),
          .index_width = int8 ? dim / 4 + 1 : dim};
}

bool Model::has_mtp() const { return weights_->mtp != nullptr; }

Status Model::Health() const { return checkpoint_->Health(); }

}  // namespace minke
