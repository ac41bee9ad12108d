// From F32 to tiles (tile.h): scales are searched for the least squared error, block by block.
#pragma once

#include <cstdint>
#include <span>

#include "minke/tensor/tile.h"

namespace minke {

// What quantising cost: sums of squares over the weights seen so far.
struct QuantizationError {
  double error = 0, weights = 0;  // of (W - quantised)^2 and of W^2
  double relative_rms() const;    // sqrt(error / weights); 0 without weights
};

// One row tile. `rows` holds num_rows (1 .. 16) rows of `cols` finite values, one behind the other, whose squares F32
// holds (above 1e18 or below 1e-18 the choice of scales is poor). Writes
// ColTiles(cols) tiles of `dtype` and, for kQ6 and kQ4, the row scales [2, 16]. Deterministic; adds to `error`.
void QuantizeRowTile(DType dtype, const float* rows, int64_t num_rows, int64_t cols, std::span<uint8_t> tiles,
                     std::span<float, kRowScalesOfTile> row_scales, QuantizationError& error);

}  // namespace minke
