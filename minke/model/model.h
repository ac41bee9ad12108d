// A checkpoint, opened and checked: configuration, weights by name, and the cache it needs. Immutable after
// Open; any thread may read it. The weights stay in the mapped files unless ModelOptions say otherwise.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "minke/base/page_memory.h"
#include "minke/base/result.h"
#include "minke/model/cache_view.h"
#include "minke/model/config.h"

namespace minke {

struct ModelWeights;
class Checkpoint;
class FileReader;
class WeightSource;

enum class Load {
  kMmap,    // weights are read when they are first used, and stay in the page cache
  kRead,    // into private memory, through the page cache
  kDirect,  // into private memory, past it (O_DIRECT)
};

struct ModelOptions {
  Load load = Load::kMmap;
  HugePages huge_pages = HugePages::kOff;
  // For everything: weights, cache, activations. Routed experts get what the others leave, and are read again when they
  // have lost their place. Not with kMmap. 0: no limit, all weights are kept.
  int64_t memory_bytes = 0;
};

class Model {
 public:
  // `path`: a folder with config.json and safetensors, one .safetensors file or index beside a config.json, or a .gguf
  // file. Errors: kNotFound, kDamaged, kUnsupported, each with file and tensor; kNoMemory when the weights are to be
  // read and do not fit.
  static Result<std::unique_ptr<const Model>> Open(const std::string& path, const ModelOptions& options = {});
  // Of weights in memory that somebody else owns, who may change them while nothing runs (parameters.h). Has no
  // checkpoint.
  static std::unique_ptr<const Model> InMemory(const ModelConfig& config, std::unique_ptr<ModelWeights> weights);
  ~Model();

  const ModelConfig& config() const { return config_; }
  const ModelWeights& weights() const { return *weights_; }
  const Checkpoint& checkpoint() const { return *checkpoint_; }
  CacheLayout cache_layout(const CacheFormats& formats = {}) const;
  bool has_mtp() const;
  // kDamaged once a file has shrunk or failed to read, mapped (SIGBUS) or not; checked after every step.
  Status Health() const;

  // With ModelOptions::memory_bytes; zero and null without.
  int64_t memory_bytes() const { return options_.memory_bytes; }
  bool streams_experts() const;
  int64_t resident_bytes() const;  // weights in memory of our own, without experts that stream
  int64_t least_expert_bytes() const;
  // What is left beside `other_bytes` of cache and activations for experts in each of several `caches`: at least
  // least_expert_bytes, and no more than all of them need; 0 where nothing streams, and the limit holds there too.
  // Errors: kNoMemory with what is needed and `advice`.
  Result<int64_t> ExpertBytes(int64_t other_bytes, int64_t caches = 1, std::string_view advice = "give more") const;
  FileReader* reader() const;  // of the checkpoint's files, by their number there; null while everything is mapped
  WeightSource* source() const { return source_.get(); }  // null while everything is mapped

 private:
  Model();
  ModelOptions options_;
  ModelConfig config_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<ModelWeights> weights_;
  std::unique_ptr<WeightSource> source_;
};

}  // namespace minke
