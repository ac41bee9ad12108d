// A model whose weights may change: every tensor in F32, in memory of our own, one after another in the order of
// ModelWeights::ForEachTensor. Gradients and the optimiser's moments are floats in the same places.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "minke/base/page_memory.h"
#include "minke/base/result.h"
#include "minke/kernels/kernel_set.h"
#include "minke/model/model.h"

namespace minke {

enum class ParameterKind {
  kMatrix,
  kVector,      // norms and biases: no weight decay
  kRouterBias,  // e_score_correction_bias: has no gradient
};

struct Parameter {
  std::string name;  // the checkpoint's
  std::vector<int64_t> shape;
  int64_t offset = 0, size = 0;  // in floats; offsets are multiples of 16
  ParameterKind kind = ParameterKind::kMatrix;
  bool indexer = false;
  bool mtp = false;  // of the MTP layer
};

class Parameters {
 public:
  // Does an MTP layer that brings its own embedding and head keep them apart, or use the main model's?
  enum class MtpCopies { kApart, kShared };

  // All weights of `model`, decoded. Errors: kNoMemory; kUnsupported with kShared if the copies differ.
  static Result<std::unique_ptr<Parameters>> Copy(const Model& model, const KernelSet& kernels, MtpCopies copies);
  // Matrices drawn from N(0, sigma^2) by `seed`, norms 1, biases 0. With the MTP layer if `config` has one.
  static Result<std::unique_ptr<Parameters>> Random(const ModelConfig& config, uint64_t seed, double sigma);

  std::span<const Parameter> list() const { return list_; }
  std::span<float> values() { return {values_, static_cast<size_t>(size_)}; }
  std::span<const float> values() const { return {values_, static_cast<size_t>(size_)}; }
  std::span<float> values_of(const Parameter& p) {
    return values().subspan(static_cast<size_t>(p.offset), static_cast<size_t>(p.size));
  }
  int64_t num_parameters() const;  // without padding

  // Reads `values` where they lie; valid as long as this. What it keeps apart, norms and biases, follows with Publish.
  // Nothing may run on the model while values change.
  std::shared_ptr<const Model> model() const { return model_; }
  void Publish();

  // Where a weight of model() starts in `values`.
  int64_t OffsetOf(const void* matrix) const { return static_cast<const float*>(matrix) - values_; }
  int64_t OffsetOf(const std::vector<float>& vector) const { return vectors_.at(vector.data()); }

 private:
  struct Binder;
  Parameters() = default;
  static Result<std::unique_ptr<Parameters>> Create(const ModelConfig& config, bool has_mtp, bool own_embedding,
                                                    bool own_head);

  std::vector<Parameter> list_;
  PageMemory memory_;
  float* values_ = nullptr;  // in memory_
  int64_t size_ = 0;
  std::shared_ptr<const Model> model_;
  std::unordered_map<const float*, int64_t> vectors_;  // of the model's vectors: their offsets
  std::vector<std::pair<float*, int64_t>> published_;  // vector, index in list_
};

}  // namespace minke
