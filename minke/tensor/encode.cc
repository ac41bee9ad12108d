#include "minke/tensor/encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "minke/base/check.h"
#include "minke/tensor/block.h"

namespace minke {
namespace {

void EncodeQ8_0(std::span<const float> x, std::byte* out) {
  constexpr int64_t kCols = BlockCols(DType::kQ8_0);
  for (size_t begin = 0; begin < x.size(); begin += kCols, out += BlockBytes(DType::kQ8_0)) {
    const auto block = x.subspan(begin, kCols);
    float largest = 0;
    for (const float value : block) largest = std::max(largest, std::fabs(value));
    const float d = largest / 127.0f, inverse = d == 0 ? 0 : 1.0f / d;
    const uint16_t bits = FloatToF16(d);
    std::memcpy(out, &bits, sizeof bits);
    for (size_t i = 0; i < kCols; ++i) {
      const float code = std::round(block[i] * inverse);
      out[2 + i] = static_cast<std::byte>(std::fabs(code) <= 127 ? static_cast<int8_t>(code) : 0);  // 0 for NaN
    }
  }
}

}  // namespace

float LargestOf(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return std::nextafter(65520.0f, 0.0f);  // from 65520 on the nearest F16 is infinity
    case DType::kBF16:
      return 0x1.fefffep127f;  // from 0x1.ffp127 on the nearest BF16 is infinity
    case DType::kQ8_0:
      return 65504.0f * 127.0f;  // d is an F16
    default:
      return std::numeric_limits<float>::max();
  }
}

void EncodeRow(DType dtype, std::span<const float> x, std::byte* out) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, x.data(), x.size() * sizeof(float));
      return;
    case DType::kF16:
    case DType::kBF16:
      for (const float value : x) {
        const uint16_t bits = dtype == DType::kF16 ? FloatToF16(value) : FloatToBF16(value);
        std::memcpy(out, &bits, sizeof bits);
        out += sizeof bits;
      }
      return;
    case DType::kQ8_0:
      return EncodeQ8_0(x, out);
    default:
      MINKE_CHECK(CanEncode(dtype));
  }
}

}  // namespace minke
