// The header of a GGUF file (version 3): metadata and the places of tensors, whose data the caller writes behind it.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "minke/tensor/gguf.h"

namespace minke {

inline constexpr int64_t kGgufAlignment = 32;  // of a tensor's data; zeros fill what is between

// A key twice is our own bug: no reader takes such a file.
class GgufWriter {
 public:
  void Int(std::string_view key, int64_t value);   // as U32, which every reader takes
  void Float(std::string_view key, double value);  // as F32
  void Bool(std::string_view key, bool value);
  void String(std::string_view key, std::string_view value);
  void Strings(std::string_view key, std::span<const std::string> values);
  void Ints(std::string_view key, std::span<const int64_t> values);  // as I32
  void Bools(std::string_view key, const std::vector<bool>& values);

  // `shape` is row-major. Data of the tensors follow the header in this order, each from a multiple of the alignment.
  void Tensor(std::string_view name, DType dtype, std::span<const int64_t> shape);
  // All bytes before the data of the first tensor.
  std::string Header() const;

 private:
  void Key(std::string_view key, GgufType type);
  void Array(std::string_view key, GgufType type, size_t count);

  std::string values_, tensors_;
  std::set<std::string, std::less<>> keys_;
  uint64_t num_tensors_ = 0;
  int64_t offset_ = 0;
};

// Zeros behind `bytes` of data.
constexpr int64_t GgufPadding(int64_t bytes) { return (kGgufAlignment - bytes % kGgufAlignment) % kGgufAlignment; }

}  // namespace minke
