#include "minke/cli/score_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <type_traits>

namespace minke {

ScoreRecord::ScoreRecord(std::vector<int64_t> lengths, int64_t num_hidden_layers)
    : lengths_(std::move(lengths)), num_hidden_layers_(num_hidden_layers), prompts_(lengths_.size()) {}

void ScoreRecord::Begin(std::vector<RecordRows> rows, bool mtp) {
  rows_ = std::move(rows);
  mtp_ = mtp;
}

std::string ScoreRecord::FullName(std::string_view name, int64_t layer) const {
  if (mtp_ || layer >= num_hidden_layers_) return name == "topk" ? "mtp.topk" : "";
  if (name.find('.') != name.npos) return std::string(name);  // hidden.embed, hidden.normed
  return fmt::format("{}.{}", name, layer);
}

template <class T>
void ScoreRecord::Keep(const std::string& name, TensorView<const T, 2> rows) {
  if (name.empty()) return;
  int64_t row = 0;
  for (const RecordRows& part : rows_) {
    Tensor& tensor = prompts_[part.prompt][name];
    std::vector<T>* values;
    if constexpr (std::is_same_v<T, float>) {
      values = &tensor.floats;
    } else {
      values = &tensor.ints;
      tensor.dtype = DType::kI32;
    }
    tensor.cols = rows.dim(1);
    tensor.rows = lengths_[part.prompt] - (mtp_ ? 1 : 0);
    values->resize(static_cast<size_t>(tensor.rows * tensor.cols));
    for (int64_t i = 0; i < part.count; ++i, ++row) {
      std::ranges::copy(rows[row], values->begin() + (part.first_pos + i) * tensor.cols);
    }
  }
}

void ScoreRecord::Floats(std::string_view name, int64_t layer, TensorView<const float, 2> rows) {
  Keep<float>(FullName(name, layer), rows);
}

void ScoreRecord::Ints(std::string_view name, int64_t layer, TensorView<const int32_t, 2> rows) {
  Keep<int32_t>(FullName(name, layer), rows);
}

void ScoreRecord::Logits(TensorView<const float, 2> rows) { Keep<float>(mtp_ ? "mtp.logits" : "logits", rows); }

std::vector<TensorToWrite> ScoreRecord::Tensors(std::span<const std::string> suffixes) {
  std::vector<TensorToWrite> tensors;
  for (size_t prompt = 0; prompt < prompts_.size(); ++prompt) {
    for (auto& [name, tensor] : prompts_[prompt]) {
      if (name.find("topk") != name.npos && tensor.cols > tensor.rows) {  // padding that no row can need
        std::vector<int32_t> cut;
        for (int64_t row = 0; row < tensor.rows; ++row) {
          const auto begin = tensor.ints.begin() + row * tensor.cols;
          cut.insert(cut.end(), begin, begin + tensor.rows);
        }
        tensor.ints = std::move(cut);
        tensor.cols = tensor.rows;
      }
      const auto bytes = tensor.dtype == DType::kI32 ? std::as_bytes(std::span<const int32_t>(tensor.ints))
                                                     : std::as_bytes(std::span<const float>(tensor.floats));
      tensors.push_back({name + suffixes[prompt], tensor.dtype, {tensor.rows, tensor.cols}, bytes});
    }
  }
  return tensors;
}

}  // namespace minke
