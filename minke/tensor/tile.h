// Weights in tiles: minke's own 8-, 6- and 4-bit formats, one layout for all instruction sets.
//
// A tile holds 16 rows of W by 32 columns, in the order in which a product wants them: group g (of 8) has columns
// 4 g .. 4 g + 3 of all rows, byte 4 r + j being row r, column 4 g + j. So one register takes four columns of sixteen
// rows against the same four values of x, and a row of y stays in its lane from the first tile to the last. Tiles of
// the same sixteen rows follow each other. Rows and columns beyond the matrix are zeros.
//
//   kQ8  W = (code - 128) * scale                       code 1 .. 255
//        8 groups of 64 bytes, then a BF16 scale for each row
//   kQ6  W = code * d s^2 - m t^2                       code 0 .. 63
//        4 x 64 bytes: low nibbles of group p below, of group p + 4 above;
//        2 x 64 bytes: bits 2 i and 2 i + 1 of byte k are the high bits of group 4 k + i;  then s and t
//   kQ4  W = code * d s^2 - m t^2                       code 0 .. 15
//        4 x 64 bytes: group p below, group p + 4 above;  then s and t
//
// s and t are bytes, one for each row of the tile: their squares are finer near zero, where most blocks are. d and m
// are F32 and belong to the row as a whole.
#pragma once

#include <cstdint>

#include "minke/tensor/dtype.h"

namespace minke {

inline constexpr int64_t kTileRows = 16, kTileCols = 32;
inline constexpr int64_t kTileGroups = 8, kTileGroupBytes = 64;  // columns 4 at a time

constexpr bool IsTiled(DType dtype) { return dtype == DType::kQ8 || dtype == DType::kQ6 || dtype == DType::kQ4; }
// kQ6 and kQ4: a scale and a minimum for each block of 32 columns, and d and m for each row.
constexpr bool HasMinimum(DType dtype) { return dtype == DType::kQ6 || dtype == DType::kQ4; }

// Of all codes of a tile; the sixteen scales, or s and t, follow in 32 bytes.
constexpr int64_t TileCodeBytes(DType dtype) {
  return dtype == DType::kQ8 ? 8 * kTileGroupBytes : dtype == DType::kQ6 ? 6 * kTileGroupBytes : 4 * kTileGroupBytes;
}
constexpr int64_t TileBytes(DType dtype) { return TileCodeBytes(dtype) + 32; }

constexpr int64_t RowTiles(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }
constexpr int64_t ColTiles(int64_t cols) { return (cols + kTileCols - 1) / kTileCols; }

// Row scales of a matrix: for each sixteen rows their d, then their m.
inline constexpr int64_t kRowScalesOfTile = 2 * kTileRows;

// The other side of the product: 32 values of x as 8-bit codes, x = code * scale. A block with a value that is not
// finite has a scale of NaN; one whose largest value is below 2^-100 counts as zeros.
struct TileX {
  int8_t codes[kTileCols];  // -127 .. 127
  float scale;
  float scaled_sum;      // scale * (sum of codes)
  int32_t minus_offset;  // -128 * (sum of codes): what the offset of kQ8's codes makes too much
  int32_t unused;        // to 48 bytes
};

}  // namespace minke
