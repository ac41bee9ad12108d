#include "minke/tensor/tensor_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace minke {

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
