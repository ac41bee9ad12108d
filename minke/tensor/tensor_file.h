// A mapped file and the tensors in it by name, whatever its format.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "minke/base/file.h"
#include "minke/tensor/dtype.h"

namespace minke {

// A named tensor in a mapped file; valid while the file is.
struct TensorRef {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
  int64_t num_elements() const;
};
using TensorMap = std::map<std::string, TensorRef, std::less<>>;

// Number `i` of a tensor as F32, whatever its alignment; 0 for types that are no floats, or tiles.
float ValueAt(const TensorRef& tensor, int64_t i);

std::string ShapeText(std::span<const int64_t> shape);  // "[80, 192]", for messages

// A name from a file as an error message may show it: one line, no control characters, not endless.
std::string NameForMessage(std::string_view name);

class TensorFile {
 public:
  explicit TensorFile(MappedFile file, TensorMap tensors = {}) : file_(std::move(file)), tensors_(std::move(tensors)) {}

  const MappedFile& file() const { return file_; }
  const TensorMap& tensors() const { return tensors_; }
  const TensorRef* Find(std::string_view name) const;  // null if absent
  void set_tensors(TensorMap tensors) { tensors_ = std::move(tensors); }
  // Memory for a tensor that the file holds in another form; it does not move.
  std::span<std::byte> NewMemory(size_t bytes) { return owned_.emplace_back(bytes); }
  int64_t owned_bytes() const;  // of NewMemory

 private:
  MappedFile file_;
  TensorMap tensors_;
  std::deque<std::vector<std::byte>> owned_;
};

}  // namespace minke
