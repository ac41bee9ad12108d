// A weight matrix as the checkpoint stores it. A quantised matrix is one value: codes with their block
// scales, never two loose members.
#pragma once

#include <cstdint>

#include "minke/base/check.h"
#include "minke/tensor/block.h"
#include "minke/tensor/dtype.h"
#include "minke/tensor/tile.h"

namespace minke {

// W[rows, cols]; y = x W^T. `data` may be unaligned.
// kF32, kF16, kBF16: row-major and contiguous.
// kF8E4M3: the same, with W[i, j] = code[i, j] * scales[(first_row + i) / block_rows, j / block_cols]; edge blocks are
// cut, so the block size is never derived from the number of scales (docs/model.md: FP8 weights).
// Blocks (block.h): row after row of whole blocks.
// kQ8, kQ6, kQ4: tiles (tile.h), row tile by row tile; `scales` are the row scales, null for kQ8.
struct WeightView {
  DType dtype = DType::kF32;
  const void* data = nullptr;
  int64_t rows = 0, cols = 0;
  const float* scales = nullptr;  // [ceil(all rows / block_rows), ceil(cols / block_cols)]; tiles: [row tiles, 2, 16]
  int64_t block_rows = 0, block_cols = 0;
  int64_t first_row = 0;  // this view's first row in the whole matrix; only FP8 scales need it

  explicit operator bool() const { return data != nullptr; }
  int64_t scale_stride() const { return (cols + block_cols - 1) / block_cols; }
  int64_t row_tile_bytes() const { return ColTiles(cols) * TileBytes(dtype); }
  // Row i; of tiles, the row tile that holds it.
  const void* row(int64_t i) const {
    const int64_t offset = IsTiled(dtype) ? i / kTileRows * row_tile_bytes() : i * RowBytes(dtype, cols);
    return static_cast<const char*>(data) + offset;
  }
  // Scales of row i, one per block of columns; of tiles, the row scales of the row tile that holds it.
  const float* row_scales(int64_t i) const {
    if (IsTiled(dtype)) return scales ? scales + i / kTileRows * kRowScalesOfTile : nullptr;
    return scales + (first_row + i) / block_rows * scale_stride();
  }
  // What a kernel reads for the whole view: numbers or codes, and the scales as they lie in memory.
  int64_t bytes() const { return data_bytes() + scale_bytes(); }
  int64_t data_bytes() const {
    return IsTiled(dtype) ? RowTiles(rows) * row_tile_bytes() : rows * RowBytes(dtype, cols);
  }
  int64_t scale_bytes() const {
    if (rows == 0) return 0;
    int64_t num_scales = 0;
    if (dtype == DType::kF8E4M3)
      num_scales = ((first_row + rows - 1) / block_rows - first_row / block_rows + 1) * scale_stride();
    if (HasMinimum(dtype)) num_scales = RowTiles(rows) * kRowScalesOfTile;
    return num_scales * static_cast<int64_t>(sizeof(float));
  }
  // `begin` of tiles is a multiple of 16.
  WeightView Rows(int64_t begin, int64_t end) const {
    MINKE_DCHECK(0 <= begin && begin <= end && end <= rows);
    WeightView view = *this;
    view.data = row(begin);
    view.rows = end - begin;
    if (IsTiled(dtype)) {
      MINKE_DCHECK(begin % kTileRows == 0);
      view.scales = row_scales(begin);
    } else {
      view.first_row = first_row + begin;
    }
    return view;
  }
};

}  // namespace minke
