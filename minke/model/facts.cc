#include "minke/model/facts.h"

#include <algorithm>
#include <map>

#include "minke/model/weights.h"
#include "minke/tensor/checkpoint.h"

namespace minke {
namespace {

// Walks the list of names of a layer and adds up.
struct LayerCounter {
  const ModelConfig& config;
  WeightCount count = {};

  void Matrix(const std::string& name, const WeightView&, int64_t rows, int64_t cols) {
    // The router and the indexer's head weights stay in BF16 (docs/model.md, "Cost").
    const bool fp8 = !name.ends_with("mlp.gate.weight") && !name.ends_with("weights_proj.weight");
    Add(name, rows * cols, fp8);
  }
  void Vector(const std::string& name, const std::vector<float>&, int64_t size) { Add(name, size, false); }

 private:
  void Add(const std::string& name, int64_t parameters, bool fp8) {
    constexpr std::string_view kExperts = "mlp.experts.";
    const bool idle =
        name.starts_with(kExperts) && std::stoll(name.substr(kExperts.size())) >= config.num_experts_per_tok;
    count.all += parameters;
    if (fp8) count.all_fp8 += parameters;
    if (idle) return;
    count.used += parameters;
    if (fp8) count.used_fp8 += parameters;
  }
};

struct VectorBytes {
  int64_t bytes = 0;
  void Matrix(const std::string&, const WeightView&, int64_t, int64_t) {}
  void Vector(const std::string&, const std::vector<float>&, int64_t size) { bytes += size * 4; }
};

// By the names of the files.
struct SizesByName {
  const Checkpoint& checkpoint;
  std::map<std::string, int64_t> sizes = {};
  std::string prefix = "";
  void Enter(const std::string& of_layer) { prefix = of_layer; }
  bool Has(const std::string& name) const { return checkpoint.Find(prefix + name) != nullptr; }
  void Matrix(const std::string& name, const WeightView&, int64_t rows, int64_t cols) {
    sizes[prefix + name] = rows * cols;
  }
  void Vector(const std::string& name, const std::vector<float>&, int64_t size) { sizes[prefix + name] = size; }
};

struct BytesByFormat {
  std::map<DType, int64_t> bytes = {};
  void Matrix(const std::string&, const WeightView& w, int64_t, int64_t) { bytes[w.dtype] += w.bytes(); }
  void Vector(const std::string&, const std::vector<float>&, int64_t) {}
};

}  // namespace

WeightCount CountWeights(const ModelConfig& config) {
  const int64_t table = config.vocab_size * config.hidden_size, d = config.hidden_size;
  LayerCounter main{config};
  LayerCounter mtp{config};
  LayerWeights layer;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) layer.ForEachTensor(config, i, main);
  if (config.num_nextn_predict_layers > 0) {
    layer.ForEachTensor(config, config.num_hidden_layers, mtp);
    mtp.count.all += 2 * d * d + 3 * d;  // eh_proj; enorm, hnorm, shared_head.norm
  }
  WeightCount count = main.count;
  count.all += d + table + (config.tie_word_embeddings ? 0 : table);
  count.used += d + table;  // the head is read whole, tied or not; of the embedding one row
  count.mtp = mtp.count.all;
  return count;
}

int64_t CountStoredParameters(const Checkpoint& checkpoint, const ModelConfig* config) {
  SizesByName known{checkpoint};
  if (config) ModelWeights().ForEachTensor(*config, known);
  int64_t count = 0;
  for (const std::string& name : checkpoint.Names()) {
    if (name.ends_with("_scale_inv") || name.ends_with(kRowScalesSuffix)) continue;
    const auto size = known.sizes.find(name);
    count += size != known.sizes.end() ? size->second : checkpoint.Find(name)->num_elements();
  }
  return count;
}

std::string WeightFormat(const Model& model) {
  BytesByFormat by_format;
  for (int64_t i = 0; i < model.config().num_hidden_layers; ++i) {
    LayerWeights layer = model.weights().layers[static_cast<size_t>(i)];
    layer.ForEachTensor(model.config(), i, by_format);
  }
  const auto most = std::ranges::max_element(by_format.bytes, {}, [](const auto& entry) { return entry.second; });
  return std::string(DTypeName(most->first));
}

const std::vector<std::string>& UnusedTensors(const Model& model) { return model.weights().unused; }

RoutedExperts CountRoutedExperts(const Model& model) {
  RoutedExperts routed;
  for (const LayerWeights& layer : model.weights().layers) {
    routed.layers += !layer.experts.empty();
    for (const MlpWeights& w : layer.experts) {
      const int64_t bytes = w.gate_proj.data_bytes() + w.up_proj.data_bytes() + w.down_proj.data_bytes();
      ++routed.count;
      routed.bytes += bytes;
      routed.largest = std::max(routed.largest, bytes);
    }
  }
  return routed;
}

int64_t OwnedWeightBytes(const Model& model) {
  VectorBytes vectors;
  LayerWeights layer;
  for (size_t i = 0; i < model.weights().layers.size(); ++i)
    layer.ForEachTensor(model.config(), static_cast<int64_t>(i), vectors);
  for (const std::vector<float>& scales : model.weights().converted_scales)
    vectors.bytes += static_cast<int64_t>(scales.size()) * 4;
  return vectors.bytes + model.config().hidden_size * 4 + model.checkpoint().owned_bytes();
}

}  // namespace minke
