// Weights in GGUF's blocks: 32 or 256 columns of one row with their own scale, blocks of a row one after the other.
// Source of the layouts: ggml's ggml-common.h; they are little-endian and unaligned. `d`, `m`: F16.
//
//   Q8_0  32   d, 32 signed codes                                        W = d code
//   Q4_0  32   d, 16 bytes: code i below, i + 16 above                   W = (code - 8) d
//   Q5_0  32   d, 32 high bits, nibbles as above                         W = (code - 16) d
//   Q5_1  32   d, m, 32 high bits, nibbles as above                      W = code d + m
//   Q4_K  256  d, m, 12 bytes of scales and minima, nibbles              W = (d scale) code - m minimum
//   Q5_K  256  the same with 32 bytes of high bits before the nibbles
//   Q6_K  256  nibbles, 64 bytes of high pairs, 16 signed scales, d      W = (d scale) (code - 32)
//
// In Q4_K and Q5_K 32 columns share a scale and a minimum of 6 bits, in Q6_K 16 share a scale. Each product is rounded
// to F32 before the next step, so that a weight has one value everywhere, GGUF's own tools included.
#pragma once

#include <cstdint>

#include "minke/tensor/dtype.h"

namespace minke {

constexpr bool IsBlocked(DType dtype) { return dtype >= DType::kQ8_0; }
constexpr int64_t BlockCols(DType dtype) {
  return dtype == DType::kQ4_K || dtype == DType::kQ5_K || dtype == DType::kQ6_K ? 256 : 32;
}
constexpr int64_t BlockBytes(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
      return 34;
    case DType::kQ4_0:
      return 18;
    case DType::kQ5_0:
      return 22;
    case DType::kQ5_1:
      return 24;
    case DType::kQ4_K:
      return 144;
    case DType::kQ5_K:
      return 176;
    default:
      return 210;
  }
}
// Of one row of a matrix that is not in tiles. Rows of blocks hold whole blocks.
constexpr int64_t RowBytes(DType dtype, int64_t cols) {
  return IsBlocked(dtype) ? cols / BlockCols(dtype) * BlockBytes(dtype) : cols * ElementBytes(dtype);
}

// Value `i` of a block: the formats' specification.
float BlockValue(DType dtype, const void* block, int64_t i);

}  // namespace minke
