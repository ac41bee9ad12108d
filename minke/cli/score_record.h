// What `minke score` keeps of a forward pass: rows per prompt under the names of the golden cases.
#pragma once

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "minke/model/forward.h"
#include "minke/tensor/safetensors.h"

namespace minke {

// Rows [first_pos, first_pos + count) of prompt `prompt`, in batch order.
struct RecordRows {
  size_t prompt = 0;
  int64_t first_pos = 0, count = 0;
};

class ScoreRecord : public TapSink {
 public:
  // `lengths`: tokens of each prompt; a recorded tensor of the main pass has that many rows, of MTP one less.
  ScoreRecord(std::vector<int64_t> lengths, int64_t num_hidden_layers);

  // Says whose rows the following calls carry.
  void Begin(std::vector<RecordRows> rows, bool mtp);
  void Floats(std::string_view name, int64_t layer, TensorView<const float, 2> rows) override;
  void Ints(std::string_view name, int64_t layer, TensorView<const int32_t, 2> rows) override;
  void Logits(TensorView<const float, 2> rows);

  // All tensors, named NAME + suffixes[prompt]; top-k sets are cut to min(k, rows) columns. The views lead into this
  // object, which must not record any more.
  std::vector<TensorToWrite> Tensors(std::span<const std::string> suffixes);

 private:
  struct Tensor {
    DType dtype = DType::kF32;
    int64_t rows = 0, cols = 0;
    std::vector<float> floats;
    std::vector<int32_t> ints;
  };
  // "" for what is not kept: of the MTP layer only its selection is.
  std::string FullName(std::string_view name, int64_t layer) const;
  template <class T>
  void Keep(const std::string& name, TensorView<const T, 2> rows);

  std::vector<int64_t> lengths_;
  int64_t num_hidden_layers_;
  std::vector<RecordRows> rows_;
  bool mtp_ = false;
  std::vector<std::map<std::string, Tensor>> prompts_;
};

}  // namespace minke
