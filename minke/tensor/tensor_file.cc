#include "minke/tensor/tensor_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>

#include "minke/tensor/block.h"

namespace minke {
namespace {

template <class T>
T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace

float ValueAt(const TensorRef& tensor, int64_t i) {
  const std::byte* data = tensor.bytes.data();
  if (IsBlocked(tensor.dtype)) {
    const int64_t cols = BlockCols(tensor.dtype);
    return BlockValue(tensor.dtype, data + i / cols * BlockBytes(tensor.dtype), i % cols);
  }
  switch (tensor.dtype) {
    case DType::kF64:
      return static_cast<float>(Load<double>(data + i * 8));
    case DType::kF32:
      return Load<float>(data + i * 4);
    case DType::kF16:
      return F16ToFloat(Load<uint16_t>(data + i * 2));
    case DType::kBF16:
      return BF16ToFloat(Load<uint16_t>(data + i * 2));
    case DType::kF8E4M3:
      return E4M3ToFloat(Load<uint8_t>(data + i));
    case DType::kF8E8M0:
      return E8M0ToFloat(Load<uint8_t>(data + i));
    default:
      return 0;
  }
}

std::string ShapeText(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::string NameForMessage(std::string_view name) {
  constexpr size_t kMaxBytes = 120;
  std::string text;
  for (const char c : name.substr(0, kMaxBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    text += byte < 0x20 || byte == 0x7F ? '?' : c;
  }
  if (name.size() <= kMaxBytes) return text;
  // Not in the middle of a UTF-8 sequence.
  while (!text.empty() && (static_cast<unsigned char>(text.back()) & 0xC0) == 0x80) text.pop_back();
  if (!text.empty() && (static_cast<unsigned char>(text.back()) & 0x80)) text.pop_back();
  return text + "...";
}

int64_t TensorRef::num_elements() const {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

const TensorRef* TensorFile::Find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

int64_t TensorFile::owned_bytes() const {
  int64_t bytes = 0;
  for (const auto& memory : owned_) bytes += std::ssize(memory);
  return bytes;
}

}  // namespace minke
