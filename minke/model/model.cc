#include "minke/model/model.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "minke/base/available_memory.h"
#include "minke/base/file.h"
#include "minke/model/facts.h"
#include "minke/model/gguf_model.h"
#include "minke/model/weight_source.h"
#include "minke/model/weights.h"
#include "minke/tensor/checkpoint.h"

namespace minke {

namespace {

double Megabytes(int64_t bytes) { return static_cast<double>(bytes) / 1e6; }

}  // namespace

Model::Model() = default;
Model::~Model() = default;

Result<std::unique_ptr<const Model>> Model::Open(const std::string& path, const ModelOptions& options) {
  std::unique_ptr<Model> model(new Model);
  model->options_ = options;
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
  if (options.load != Load::kMmap) {
    MINKE_ASSIGN(model->source_, WeightSource::Create(options, model->config_, *model->checkpoint_,
                                                      OwnedWeightBytes(*model), *model->weights_));
  }
  MINKE_TRY(model->Health());  // a shard may have failed while its scales were read
  return std::unique_ptr<const Model>(std::move(model));
}

std::unique_ptr<const Model> Model::InMemory(const ModelConfig& config, std::unique_ptr<ModelWeights> weights) {
  std::unique_ptr<Model> model(new Model);
  model->config_ = config;
  model->weights_ = std::move(weights);
  return model;
}

CacheLayout Model::cache_layout(const CacheFormats& formats) const {
  return {.num_layers = static_cast<int64_t>(weights_->layers.size()),
          .kv_lora_rank = config_.kv_lora_rank,
          .qk_rope_head_dim = config_.qk_rope_head_dim,
          .index_head_dim = config_.has_indexer() ? config_.index_head_dim : 0,
          .formats = formats};
}

bool Model::has_mtp() const { return weights_->mtp != nullptr; }

Status Model::Health() const {
  if (source_) MINKE_TRY(source_->reader().Health());
  return checkpoint_ ? checkpoint_->Health() : Status{};
}

FileReader* Model::reader() const { return source_ ? &source_->reader() : nullptr; }

bool Model::streams_experts() const { return source_ && source_->streams_experts(); }

int64_t Model::resident_bytes() const { return source_ ? source_->resident_bytes() + OwnedWeightBytes(*this) : 0; }

int64_t Model::least_expert_bytes() const { return source_ ? source_->least_expert_bytes() : 0; }

Result<int64_t> Model::ExpertBytes(int64_t other_bytes, int64_t caches, std::string_view advice) const {
  if (options_.memory_bytes == 0) return 0;
  const int64_t least = resident_bytes() + other_bytes + caches * least_expert_bytes();
  if (options_.memory_bytes < least)
    return Fail(
        Code::kNoMemory,
        "--memory {:.2f} MB is not enough: weights of every token {:.2f}, cache and activations {:.2f} and experts "
        "at least {:.2f} need {:.2f} MB: {}",
        Megabytes(options_.memory_bytes), Megabytes(resident_bytes()), Megabytes(other_bytes),
        Megabytes(caches * least_expert_bytes()), std::ceil(Megabytes(least) * 100) / 100, advice);
  if (!streams_experts()) return 0;
  const int64_t left = (options_.memory_bytes - resident_bytes() - other_bytes) / caches;
  const int64_t bytes = std::min(left, source_->slot_bytes() * source_->num_experts());
  if (const int64_t available = AvailableMemoryBytes(); caches * bytes > available)
    return Fail(Code::kNoMemory, "--memory {:.2f} MB leaves {:.2f} MB for experts, {:.2f} MB are available: give less",
                Megabytes(options_.memory_bytes), Megabytes(caches * bytes), Megabytes(available));
  return bytes;
}

}  // namespace minke
