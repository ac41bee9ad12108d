// A checkpoint, opened and checked: configuration, weights by name, and the cache it needs. Immutable after
// Open; any thread may read it. The weights stay in the mapped files.
#pragma once

#include <memory>
#include <string>

#include "minke/base/result.h"
#include "minke/model/cache_view.h"
#include "minke/model/config.h"

namespace minke {

struct ModelWeights;
class Checkpoint;

class Model {
 public:
  // `path`: a folder with config.json and safetensors, one .safetensors file or index beside a config.json, or a .gguf
  // file. Errors: kNotFound, kDamaged, kUnsupported, each with file and tensor.
  static Result<std::unique_ptr<const Model>> Open(const std::string& path);
  ~Model();

  const ModelConfig& config() const { return config_; }
  const ModelWeights& weights() const { return *weights_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  CacheLayout cache_layout(IndexPrecision index = IndexPrecision::kExact) const;
  bool has_mtp() const;
  // kDamaged once a mapped file has shrunk or failed to read (SIGBUS); checked after every step.
  Status Health() const;

 private:
  Model();
  ModelConfig config_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<ModelWeights> weights_;
};

}  // namespace minke
