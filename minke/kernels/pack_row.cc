#include "minke/kernels/pack_row.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "minke/tensor/dtype.h"

namespace minke {
namespace {

void RoundToBF16(const float* x, int64_t n, void* to) {
  auto* bits = static_cast<uint16_t*>(to);
  for (int64_t i = 0; i < n; ++i) bits[i] = FloatToBF16(x[i]);
}

// Codes and scales of the first n numbers.
void PackCodes(const KernelSet& kernels, RowFormat format, const float* x, int64_t n, uint8_t* codes, float* scales) {
  if (format == RowFormat::kFp8) {
    kernels.quantize_e4m3(x, n, /*ue8m0=*/true, codes, scales);
    return;
  }
  for (int64_t i = 0; i < n; i += kScaleGroup)
    kernels.quantize_i8(x + i, std::min(kScaleGroup, n - i), codes + i, scales + i / kScaleGroup);
}

}  // namespace

void PackLatent(const KernelSet& kernels, RowFormat format, const float* x, int64_t rc, int64_t dr, float* row) {
  switch (format) {
    case RowFormat::kF32:
      std::memcpy(row, x, static_cast<size_t>(rc + dr) * sizeof(float));
      return;
    case RowFormat::kBF16:
      RoundToBF16(x, rc + dr, row);
      return;
    default: {
      auto* bytes = reinterpret_cast<uint8_t*>(row);
      for (int64_t i = rc; i < ExactOffset(rc); ++i) bytes[i] = 128;  // the value 0, where kInt8 reads codes in fours
      PackCodes(kernels, format, x, rc, bytes, row + ScaleOffset(rc, dr) / 4);
      RoundToBF16(x + rc, dr, bytes + ExactOffset(rc));
    }
  }
}

void PackIndexKey(const KernelSet& kernels, RowFormat format, float* x, int64_t dim, float* row) {
  if (RotatesIndex(format)) RotateIndex(kernels, x, dim);
  if (format == RowFormat::kInt8) {
    kernels.quantize_i8(x, dim, reinterpret_cast<uint8_t*>(row), row + dim / 4);
  } else {
    PackLatent(kernels, format, x, dim, 0, row);
  }
}

void RotateIndex(const KernelSet& kernels, float* x, int64_t dim) {
  if (std::has_single_bit(static_cast<uint64_t>(dim))) kernels.hadamard(x, dim);
}

}  // namespace minke
