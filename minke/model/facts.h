// What a model weighs, from its configuration or once it is open: for people who ask before they run it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "minke/model/model.h"

namespace minke {

struct WeightCount {
  int64_t all = 0;       // parameters without the MTP layer
  int64_t used = 0;      // of those, read for one token: no embedding, and num_experts_per_tok experts a layer
  int64_t all_fp8 = 0;   // the part of `all` that an FP8 release stores as FP8
  int64_t used_fp8 = 0;  // the same of `used`
  int64_t mtp = 0;       // the MTP layer, without its copies of embedding and head
};
WeightCount CountWeights(const ModelConfig& config);
// Parameters in the files, MTP layer and unused tensors included, scales not. The configuration's tensors count with
// its shapes, which are not those of tiles; without a configuration all count as stored.
int64_t CountStoredParameters(const Checkpoint& checkpoint, const ModelConfig* config);

// The number format in which most bytes of the layers' matrices are stored: "F8_E4M3".
std::string WeightFormat(const Model& model);
// Tensors that the configuration does not call for.
const std::vector<std::string>& UnusedTensors(const Model& model);
// The routed experts' matrices without their scales: what --memory leaves on the disk.
struct RoutedExperts {
  int64_t layers = 0, count = 0;  // count: of all layers together
  int64_t bytes = 0, largest = 0;
};
RoutedExperts CountRoutedExperts(const Model& model);
// Private memory that the open model holds: norms, biases, converted scales, matrices that a GGUF file has in parts.
int64_t OwnedWeightBytes(const Model& model);

}  // namespace minke
