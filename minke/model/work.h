// What one step of the model has to read and to compute, counted: the numerator of every share of a roofline. Bytes are
// those of the weights as they are stored and of the cache as it is kept, each read once; a multiply-add with a weight,
// an index key or a latent is two operations (docs/performance.md). Activations and what is written are left out.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "minke/model/forward.h"
#include "minke/model/model.h"

namespace minke {

struct StepShape {
  int64_t batch = 1;   // sequences
  int64_t tokens = 1;  // new ones of each
  int64_t depth = 0;   // positions that each has in its cache before
  bool logits = true;  // of the last token of each sequence, or none
  Attention attention = Attention::kDsa;
  CacheFormats cache = {};
  // How many experts of a layer the step's tokens chose between them; nothing: as many as even routing would.
  std::optional<double> experts = std::nullopt;
};

// Parts are kept apart because not all run at the same peak: products with weights in tiles are of 8-bit integers.
struct Work {
  double weight_bytes = 0, index_bytes = 0, latent_bytes = 0;
  double weight_flop = 0, index_flop = 0, attention_flop = 0;
  // Of 8 bits: with weights in tiles instead of weight_flop, with keys in kInt8 instead of index_flop, with latents in
  // kInt8 instead of attention_flop. The kernel does half as many again: it takes attention's weights in two codes.
  double i8_op = 0;

  double bytes() const { return weight_bytes + index_bytes + latent_bytes; }
  double flop() const { return weight_flop + index_flop + attention_flop; }
  Work& operator+=(const Work& other);
};

Work CountWork(const Model& model, const StepShape& shape);
Work CountWork(const ModelConfig& config, const ModelWeights& weights, const StepShape& shape);

// Positions that the new tokens of one sequence see, summed over the tokens; token t sees depth + t + 1.
struct Visible {
  double all = 0;        // by all tokens
  double selecting = 0;  // tokens that see more than the indexer selects
  double scored = 0;     // positions seen by those
  double attended = 0;   // positions that attention reads, after the selection
};
Visible CountVisible(const ModelConfig& config, const StepShape& shape);

// The matrix products of a step, equal ones together.
struct Product {
  DType dtype = DType::kF32;
  int64_t rows = 0, cols = 0;  // of W
  int64_t x_rows = 0;          // that are multiplied with it
  enum class Split {
    kRows,
    kHeads
  } split = Split::kRows;   // between threads: W's rows, or a product of each head a task
  bool transposed = false;  // x W, not x W^T: absorbs keys into queries
  bool head = false;        // of the model, not of a layer
  double times = 0;

  bool operator==(const Product&) const = default;
};
std::vector<Product> ListProducts(const Model& model, const StepShape& shape);
std::vector<Product> ListProducts(const ModelConfig& config, const ModelWeights& weights, const StepShape& shape);

}  // namespace minke
