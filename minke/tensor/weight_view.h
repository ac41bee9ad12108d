// A weight matrix as the checkpoint stores it. A quantised matrix is one value: codes with their block
// scales, never two loose members.
#pragma once

#include <cstdint>

#include "minke/base/check.h"
#include "minke/tensor/dtype.h"

namespace minke {

// W[rows, cols], row-major and contiguous; y = x W^T. dtype is kF32, kF16, kBF16 or kF8E4M3. `data` may be
// unaligned. For kF8E4M3, W[i, j] = code[i, j] * scales[(first_row + i) / block_rows, j / block_cols];
// edge blocks are cut, so the block size is never derived from the number of scales (spec/model.md 9).
struct WeightView {
  DType dtype = DType::kF32;
  const void* data = nullptr;
  int64_t rows = 0, cols = 0;
  const float* scales = nullptr;  // [ceil(all rows / block_rows), ceil(cols / block_cols)]
  int64_t block_rows = 0, block_cols = 0;
  int64_t first_row = 0;  // this view's first row in the whole matrix; only scales need it

  explicit operator bool() const { return data != nullptr; }
  int64_t scale_stride() const { return (cols + block_cols - 1) / block_cols; }
  const void* row(int64_t i) const { return static_cast<const char*>(data) + i * cols * ElementBytes(dtype); }
  // Scales of row i, one per block of columns.
  const float* row_scales(int64_t i) const { return scales + (first_row + i) / block_rows * scale_stride(); }
  WeightView Rows(int64_t begin, int64_t end) const {
    MINKE_DCHECK(0 <= begin && begin <= end && end <= rows);
    WeightView view = *this;
    view.data = row(begin);
    view.rows = end - begin;
    view.first_row = first_row + begin;
    return view;
  }
};

}  // namespace minke
