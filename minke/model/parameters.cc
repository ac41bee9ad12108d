#include "minke/model/parameters.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numbers>

#include "minke/base/available_memory.h"
#include "minke/base/rng.h"
#include "minke/model/weights.h"

namespace minke {
namespace {

constexpr int64_t kAlignFloats = 16;  // one cache line, one 512-bit register

// Collects what a model has under each name.
struct Source {
  std::map<std::string, WeightView> matrices;
  std::map<std::string, std::vector<float>> vectors;
  std::string prefix;
  bool has_mtp, own_embedding, own_head;

  void Enter(const std::string& p) { prefix = p; }
  bool Has(const std::string& name) const {
    return name == "eh_proj.weight" ? has_mtp : name == "embed_tokens.weight" ? own_embedding : own_head;
  }
  void Matrix(const std::string& name, const WeightView& view, int64_t, int64_t) { matrices[prefix + name] = view; }
  void Vector(const std::string& name, const std::vector<float>& floats, int64_t) { vectors[prefix + name] = floats; }
};

bool SameBytes(const WeightView& a, const WeightView& b) {
  if (a.data == b.data) return true;
  return a.dtype == b.dtype && a.scales == nullptr && b.scales == nullptr &&
         std::memcmp(a.data, b.data, static_cast<size_t>(a.data_bytes())) == 0;
}

// The i-th number of a standard normal stream (Box-Muller).
float Normal(const Philox& random, int64_t i) {
  const uint64_t pair = static_cast<uint64_t>(i / 2) * 2;
  const double radius = std::sqrt(-2 * std::log(1 - random.Uniform(pair)));
  const double angle = 2 * std::numbers::pi * random.Uniform(pair + 1);
  return static_cast<float>(radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle)));
}

}  // namespace

// Lists every tensor and, once there is memory, points the model's weights at it.
struct Parameters::Binder {
  Parameters& p;
  bool has_mtp, own_embedding, own_head;
  const std::string mtp_prefix;  // before the names of the MTP layer's tensors
  std::string prefix = {};
  size_t next = 0;

  void Enter(const std::string& text) { prefix = text; }
  bool Has(const std::string& name) const {
    return name == "eh_proj.weight" ? has_mtp : name == "embed_tokens.weight" ? own_embedding : own_head;
  }
  void Matrix(const std::string& name, WeightView& view, int64_t rows, int64_t cols) {
    const Parameter& parameter = Next(name, {rows, cols}, ParameterKind::kMatrix);
    if (!p.values_) return;
    view = {.dtype = DType::kF32, .data = p.values_ + parameter.offset, .rows = rows, .cols = cols};
  }
  void Vector(const std::string& name, std::vector<float>& floats, int64_t size) {
    const bool bias = name.ends_with("e_score_correction_bias");
    const size_t index = next;
    const Parameter& parameter = Next(name, {size}, bias ? ParameterKind::kRouterBias : ParameterKind::kVector);
    if (!p.values_) return;
    floats.resize(static_cast<size_t>(size));
    p.vectors_[floats.data()] = parameter.offset;
    p.published_.emplace_back(floats.data(), static_cast<int64_t>(index));
  }
  const Parameter& Next(const std::string& name, std::vector<int64_t> shape, ParameterKind kind) {
    if (p.values_) return p.list_[next++];
    Parameter parameter{.name = prefix + name,
                        .shape = std::move(shape),
                        .offset = p.size_,
                        .size = 1,
                        .kind = kind,
                        .indexer = name.starts_with("self_attn.indexer."),
                        .mtp = prefix == mtp_prefix};
    for (const int64_t dim : parameter.shape) parameter.size *= dim;
    p.size_ += (parameter.size + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
    return p.list_.emplace_back(std::move(parameter));
  }
};

Result<std::unique_ptr<Parameters>> Parameters::Create(const ModelConfig& config, bool has_mtp, bool own_embedding,
                                                       bool own_head) {
  std::unique_ptr<Parameters> p(new Parameters);
  ModelWeights names;
  const std::string mtp_prefix = fmt::format("model.layers.{}.", config.num_hidden_layers);
  names.ForEachTensor(config, Binder{*p, has_mtp, own_embedding, own_head, mtp_prefix});
  const int64_t bytes = p->size_ * static_cast<int64_t>(sizeof(float));
  if (bytes > AvailableMemoryBytes())
    return Fail(Code::kNoMemory, "the weights in F32: {} MiB are needed, {} MiB are available", bytes >> 20,
                AvailableMemoryBytes() >> 20);
  // A step walks through all of them: on small pages a rollout of 64 takes a tenth longer.
  MINKE_ASSIGN(p->memory_, PageMemory::Take(bytes, HugePages::kAuto));
  p->values_ = reinterpret_cast<float*>(p->memory_.data());
  auto weights = std::make_unique<ModelWeights>();
  weights->ForEachTensor(config, Binder{*p, has_mtp, own_embedding, own_head, mtp_prefix});
  p->model_ = Model::InMemory(config, std::move(weights));
  return p;
}

Result<std::unique_ptr<Parameters>> Parameters::Copy(const Model& model, const KernelSet& kernels, MtpCopies copies) {
  const ModelWeights& from = model.weights();
  ModelWeights weights;  // views of the same memory, to walk
  weights.embed_tokens = from.embed_tokens, weights.lm_head = from.lm_head, weights.norm = from.norm;
  weights.layers = from.layers;
  Source source{.matrices = {},
                .vectors = {},
                .prefix = {},
                .has_mtp = from.mtp != nullptr,
                .own_embedding = from.mtp && from.mtp->embed_tokens.data != from.embed_tokens.data,
                .own_head = from.mtp && from.mtp->head.data != from.lm_head.data};
  if (from.mtp) weights.mtp = std::make_unique<MtpWeights>(*from.mtp);
  weights.ForEachTensor(model.config(), source);
  if (copies == MtpCopies::kShared && from.mtp) {
    if (!SameBytes(from.mtp->embed_tokens, from.embed_tokens) || !SameBytes(from.mtp->head, from.lm_head))
      return Fail(Code::kUnsupported,
                  "the MTP layer's embedding or head differs from the main model's, which it shares in training");
    source.own_embedding = source.own_head = false;
  }
  MINKE_ASSIGN(auto p, Create(model.config(), source.has_mtp, source.own_embedding, source.own_head));
  for (const Parameter& parameter : p->list_) {
    float* to = p->values_ + parameter.offset;
    if (const auto matrix = source.matrices.find(parameter.name); matrix != source.matrices.end()) {
      const WeightView& w = matrix->second;
      for (int64_t row = 0; row < w.rows; ++row) kernels.dequantize_row(w, row, to + row * w.cols);
    } else {
      std::ranges::copy(source.vectors.at(parameter.name), to);
    }
  }
  MINKE_TRY(model.Health());
  p->Publish();
  return p;
}

Result<std::unique_ptr<Parameters>> Parameters::Random(const ModelConfig& config, uint64_t seed, double sigma) {
  MINKE_ASSIGN(auto p, Create(config, config.num_nextn_predict_layers > 0, false, false));
  for (size_t i = 0; i < p->list_.size(); ++i) {
    const Parameter& parameter = p->list_[i];
    const auto values = p->values_of(parameter);
    if (parameter.kind == ParameterKind::kMatrix) {
      const Philox random(seed, i);  // a tensor's stream is its place in the list
      for (size_t j = 0; j < values.size(); ++j)
        values[j] = static_cast<float>(sigma) * Normal(random, static_cast<int64_t>(j));
    } else if (parameter.name.ends_with("norm.weight")) {
      std::ranges::fill(values, 1.0f);
    }
  }
  p->Publish();
  return p;
}

int64_t Parameters::num_parameters() const {
  int64_t sum = 0;
  for (const Parameter& p : list_) sum += p.size;
  return sum;
}

void Parameters::Publish() {
  for (const auto& [vector, index] : published_)
    std::ranges::copy(values_of(list_[static_cast<size_t>(index)]), vector);
}

}  // namespace minke
