// F32 numbers in a stored type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "minke/tensor/dtype.h"

namespace minke {

constexpr bool CanEncode(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kQ8_0;
}

// The largest |x| that the type can hold: one more step of F32 would become an infinity.
float LargestOf(DType dtype);

// One row: out holds RowBytes(dtype, x.size()) bytes. kF32, kF16 and kBF16 to the nearest; kQ8_0 as ggml does it: d is
// the largest |x| of a block / 127, codes are x / d rounded half away from zero, and d is then stored as F16.
void EncodeRow(DType dtype, std::span<const float> x, std::byte* out);

}  // namespace minke
