// Owner of activations: one block, taken once, handed out in 64-byte aligned pieces, freed as a whole.
// Not thread-safe: pieces are taken while a Scratch is built, before any kernel runs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "minke/tensor/view.h"

namespace minke {

class Arena {
 public:
  // Measures only: hands out no memory, adds up what a second pass will need.
  Arena() = default;
  explicit Arena(size_t bytes);

  template <class T>
  std::span<T> Take(int64_t count) {
    return {reinterpret_cast<T*>(TakeBytes(static_cast<size_t>(count) * sizeof(T))), static_cast<size_t>(count)};
  }
  template <class T, size_t kRank>
  TensorView<T, static_cast<int>(kRank)> TakeTensor(const int64_t (&dims)[kRank]) {
    std::array<int64_t, kRank> shape;
    int64_t count = 1;
    for (size_t d = 0; d < kRank; ++d) shape[d] = dims[d], count *= dims[d];
    return {Take<T>(count).data(), shape};
  }

  size_t used_bytes() const { return used_; }

 private:
  static constexpr size_t kAlign = 64;  // one cache line, one 512-bit register
  std::byte* TakeBytes(size_t bytes) {
    const size_t offset = used_;
    used_ += (bytes + kAlign - 1) / kAlign * kAlign;
    if (!memory_) return nullptr;
    MINKE_CHECK(used_ <= capacity_);
    return memory_.get() + offset;
  }
  struct Free {
    void operator()(std::byte* p) const;
  };

  std::unique_ptr<std::byte[], Free> memory_;
  size_t capacity_ = 0;
  size_t used_ = 0;
};

}  // namespace minke
