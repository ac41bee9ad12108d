// Borrowed, row-major windows onto memory that somebody else owns. A view does nothing but view.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <type_traits>

#include "minke/base/check.h"

namespace minke {

// Strides count elements; the last dimension is contiguous. `x[i]` drops the first dimension; a rank-1
// result is a std::span.
template <class T, int kRank>
class TensorView {
  static_assert(kRank >= 2, "rank 1 is a std::span");

 public:
  TensorView() = default;
  TensorView(T* data, std::array<int64_t, kRank> dims) : data_(data), dims_(dims) {
    int64_t stride = 1;
    for (int d = kRank - 1; d >= 0; --d) {
      strides_[d] = stride;
      stride *= dims_[d];
    }
  }
  TensorView(T* data, std::array<int64_t, kRank> dims, std::array<int64_t, kRank> strides)
      : data_(data), dims_(dims), strides_(strides) {
    MINKE_DCHECK(strides[kRank - 1] == 1);
  }
  operator TensorView<const T, kRank>() const
    requires(!std::is_const_v<T>)
  {
    return {data_, dims_, strides_};
  }

  T* data() const { return data_; }
  int64_t dim(int d) const { return dims_[d]; }
  int64_t stride(int d) const { return strides_[d]; }

  auto operator[](int64_t i) const {
    MINKE_DCHECK(i >= 0 && i < dims_[0]);
    T* row = data_ + i * strides_[0];
    if constexpr (kRank == 2) {
      return std::span<T>(row, static_cast<size_t>(dims_[1]));
    } else {
      std::array<int64_t, kRank - 1> dims, strides;
      for (int d = 1; d < kRank; ++d) dims[d - 1] = dims_[d], strides[d - 1] = strides_[d];
      return TensorView<T, kRank - 1>(row, dims, strides);
    }
  }

  // [begin, end) of the last dimension.
  TensorView Slice(int64_t begin, int64_t end) const {
    MINKE_DCHECK(0 <= begin && begin <= end && end <= dims_[kRank - 1]);
    TensorView view = *this;
    view.data_ += begin;
    view.dims_[kRank - 1] = end - begin;
    return view;
  }
  // [begin, end) of the first dimension.
  TensorView Rows(int64_t begin, int64_t end) const {
    MINKE_DCHECK(0 <= begin && begin <= end && end <= dims_[0]);
    TensorView view = *this;
    view.data_ += begin * strides_[0];
    view.dims_[0] = end - begin;
    return view;
  }
  // Splits the last dimension: [..., n * inner] becomes [..., n, inner].
  TensorView<T, kRank + 1> Split(int64_t inner) const {
    MINKE_DCHECK(dims_[kRank - 1] % inner == 0);
    std::array<int64_t, kRank + 1> dims, strides;
    for (int d = 0; d < kRank; ++d) dims[d] = dims_[d], strides[d] = strides_[d];
    dims[kRank - 1] = dims_[kRank - 1] / inner;
    strides[kRank - 1] = inner;
    dims[kRank] = inner;
    strides[kRank] = 1;
    return {data_, dims, strides};
  }

 private:
  T* data_ = nullptr;
  std::array<int64_t, kRank> dims_{};
  std::array<int64_t, kRank> strides_{};
};

}  // namespace minke
